import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.config import DataConfig, TrainConfig, to_mapping
from deeplab.data_check.check import GRID_FILE, REPORT_FILE, check_before_training, check_data
from deeplab.data_check.data_report import DataReport, Problem
from deeplab.datasets.open import open_source
from deeplab.errors import UserError
from deeplab.files import write_json
from tests.datasets.test_folder import make_folder


def _check(config: DataConfig, skip: bool = False) -> DataReport:
    splits = (open_source(config, split) for split in (config.train_split, config.val_split))
    return check_data(*splits, None, skip)[0]


def _lists(root: Path, train: range, val: range) -> None:
    (root / "train.txt").write_text("".join(f"p{i}\n" for i in train))
    (root / "val.txt").write_text("".join(f"p{i}\n" for i in val))


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    """Six images without problems: p0..p3 for training, p4 and p5 for validation."""
    config = make_folder(tmp_path, 6, classes=("background", "leaf", "stem"))
    _lists(tmp_path, range(4), range(4, 6))
    return config


def _save(config: DataConfig, name: str, ids: np.ndarray) -> None:
    Image.fromarray(ids.astype(np.uint8)).save(Path(config.root or "") / f"masks/{name}.png")


def _only_problem(report: DataReport) -> Problem:
    assert len(report.problems) == 1, report.text()
    return report.problems[0]


def test_good_data_have_no_problems_and_are_counted(config: DataConfig):
    report = _check(config)
    assert report.problems == ()
    train, val = report.splits
    # Four masks of 24 x 32: the left half is background, the right half leaf, stem, leaf, stem.
    assert train.pixels == (4 * 384, 2 * 384, 2 * 384)
    assert train.images == (4, 2, 2)
    assert train.labeled_pixels == (4 * 768, 2 * 768, 2 * 768)
    assert (train.ignored, train.checked, val.checked) == (0, 4, 2)


def test_values_that_are_not_class_ids_are_reported_with_file_and_numbering(config: DataConfig):
    ids = np.zeros((24, 32))
    ids[0, 0], ids[1, 1] = 7, 9
    _save(config, "p2", ids)
    problem = _only_problem(_check(config))
    assert problem.severity == "error"
    assert "1 of 4 images: the mask has values that are not class ids" in problem.description
    assert "values of these masks: 0, 7, 9" in problem.consequence
    assert "correct these files" in problem.remedy
    assert "label_ids" not in problem.remedy
    assert "p2.png: expected labels 0..2 and 255 (ignore), got 9" in problem.files[0]


def test_one_error_in_both_splits_is_one_problem(config: DataConfig, tmp_path: Path, capsys):
    ids = np.zeros((24, 32))
    ids[0, 0] = 7
    for name in ("p2", "p4"):
        _save(config, name, ids)
    problem, _ = _check(config).problems  # The other is that no mask of the validation split has leaf.
    assert re.search(r"/train: 1 of 4 images, .*/val: 1 of 2 images: the mask has values", problem.description)
    assert [Path(file.partition(":")[0]).name for file in problem.files] == ["p2.png", "p4.png"]
    assert problem.remedy.startswith("correct these files (2,")
    with pytest.raises(UserError, match=r"1 of 4 images, .* 1 of 2 images"):
        check_before_training(config, tmp_path / "run")
    assert "the mask has values" not in capsys.readouterr().out


def test_another_numbering_is_proposed_only_if_it_fits_all_masks(config: DataConfig):
    """Masks of the values 0, 7, 9; one has 0 only, which is a class id too, and fits the numbering."""
    for i in range(4):
        ids = np.zeros((24, 32))
        if i:
            ids[0, :16], ids[1, :16] = 7, 9
        _save(config, f"p{i}", ids)
    assert "data.label_ids=[0,7,9]" in _check(config).problems[0].remedy
    _save(config, "p0", np.eye(24, 32))
    assert _check(config).problems[0].remedy.startswith("correct these files (3,")


def test_no_numbering_is_proposed_for_one_odd_mask(config: DataConfig):
    """The odd value takes the place of the class that the other masks lack, so that the numbers would fit."""
    for i in range(4):
        ids = np.zeros((24, 32))
        ids[:, :8] = 1
        if i == 2:
            ids[0, :16] = 7
        _save(config, f"p{i}", ids)
    assert _check(config).problems[0].remedy.startswith("correct these files (1,")


def test_a_full_check_names_every_image_without_a_mask_in_both_splits(config: DataConfig, tmp_path: Path, capsys):
    names = open_source(config, "train").names + open_source(config, "val").names
    for mask in (tmp_path / "masks").iterdir():
        mask.unlink()
    with pytest.raises(UserError, match=r"no mask for 4 of 4 images .* and 1 more \(check_data=true lists all\)"):
        check_before_training(config, tmp_path / "run", full=True)
    printed = capsys.readouterr().out.splitlines()
    assert sorted(line.strip() for line in printed if line.startswith("  ")) == sorted(names)


def test_black_and_white_masks_are_reported(tmp_path: Path):
    config = make_folder(tmp_path, 4)
    for i in range(4):
        ids = np.asarray(Image.open(tmp_path / f"masks/p{i}.png"))
        _save(config, f"p{i}", ids * 255)
    problem = _only_problem(_check(config))
    assert problem.severity == "error"
    assert "the masks hold only 0 and 255" in problem.description
    assert problem.remedy == "data.label_ids=[0,255]"
    assert problem.files == open_source(config, "train").names
    assert _check(dataclasses.replace(config, label_ids=(0, 255))).problems == ()


def test_a_black_and_white_mask_among_masks_of_class_ids_is_reported(config: DataConfig, tmp_path: Path):
    """One of eight is a warning; one of four is an error."""
    white = np.zeros((24, 32))
    white[:, 16:] = 255
    _save(config, "p1", white)
    (problem,) = [problem for problem in _check(config).problems if "0 and 255 only" in problem.description]
    assert (problem.severity, problem.files) == ("error", ("p1",))
    assert "1 of 4 checked images have masks of 0 and 255 only, others have class ids" in problem.description
    more = make_folder(tmp_path / "more", 8, classes=("background", "leaf", "stem"))
    _lists(tmp_path / "more", range(8), range(7, 8))
    _save(more, "p1", white)
    (problem,) = [problem for problem in _check(more).problems if "0 and 255 only" in problem.description]
    assert problem.severity == "warning"


def test_color_masks_are_reported(config: DataConfig):
    for i in range(6):
        path = Path(config.root or "") / f"masks/p{i}.png"
        Image.open(path).convert("RGB").save(path)
    report = _check(config)
    (error,) = report.errors
    assert re.search("4 of 4 images, .*2 of 2 images: the mask has colors", error.description)
    assert "data.colors" in report.errors[0].remedy
    assert "p0.png" in report.errors[0].files[0]


def test_masks_of_another_size_are_reported(config: DataConfig):
    _save(config, "p1", np.zeros((24, 31)))
    problem = _only_problem(_check(config))
    assert problem.severity == "error"
    assert "p1.png: expected 32x24 pixels, the size of" in problem.files[0]
    assert "nearest" in problem.remedy
    _save(config, "p1", np.zeros((32, 24)))
    assert "EXIF" in _only_problem(_check(config)).remedy


def test_a_file_name_with_separators_is_reported_whole(tmp_path: Path):
    root = tmp_path / "a; b: c"
    config = make_folder(root, 6, classes=("background", "leaf", "stem"))
    _lists(root, range(4), range(4, 6))
    _save(config, "p1", np.zeros((24, 31)))
    problem = _only_problem(_check(config))
    assert problem.files[0].startswith(f"{root}/masks/p1.png: expected 32x24 pixels")
    assert problem.remedy.startswith("save the mask")
    with pytest.raises(UserError) as caught:
        check_before_training(config, tmp_path / "run")
    assert f"{root}/masks/p1.png: expected 32x24 pixels" in caught.value.problem
    assert caught.value.remedy == problem.remedy


def test_unreadable_and_missing_files_are_reported(config: DataConfig):
    image = Path(config.root or "") / "images/p3.jpg"
    splits = [open_source(config, split) for split in ("train", "val")]
    image.write_bytes(image.read_bytes()[:300])
    problem = _only_problem(check_data(splits[0], splits[1], None)[0])
    assert problem.severity == "error"
    assert "p3.jpg: cannot be read" in problem.files[0]
    image.unlink()
    problem = _only_problem(check_data(splits[0], splits[1], None)[0])
    assert "a file is missing" in problem.description
    assert "p3.jpg" in problem.files[0]


def test_skipped_examples_are_warnings_unless_they_are_more_than_half(config: DataConfig):
    _save(config, "p1", np.zeros((24, 31)))
    assert _only_problem(_check(config, skip=True)).severity == "warning"
    _save(config, "p2", np.zeros((24, 31)))
    assert _check(config, skip=True).errors == ()
    _save(config, "p3", np.zeros((24, 31)))
    assert _check(config, skip=True).errors
    _save(config, "p4", np.zeros((24, 31)))
    assert "val: 1 of 2" in _check(config, skip=True).errors[0].description


def test_images_in_both_splits_are_reported_by_name_and_by_content(config: DataConfig):
    root = Path(config.root or "")
    _lists(root, range(4), range(3, 6))
    problem = _only_problem(_check(config))
    assert problem.severity == "warning"
    assert "1 of 3 validation images are also training images" in problem.description
    assert problem.files == ("p3",)
    _lists(root, range(4), range(4, 6))
    for part, end in (("images", "jpg"), ("masks", "png")):
        (root / part / f"p5.{end}").write_bytes((root / part / f"p0.{end}").read_bytes())
    # The copy replaces the only validation image with the class stem.
    overlap, absent = _check(config).problems
    assert overlap.files == ("p0 = p5",)
    assert f"{root.name}/val: no pixel of stem in 2 checked images" in absent.description


def test_nearly_equal_images_in_both_splits_are_reported_by_name(config: DataConfig):
    images = Path(config.root or "") / "images"
    brighter = np.minimum(np.asarray(Image.open(images / "p1.jpg")), 253) + 2
    Image.fromarray(brighter.astype(np.uint8)).save(images / "p5.png")
    (images / "p5.jpg").unlink()
    problem = _only_problem(_check(config))
    assert problem.severity == "warning"
    assert "1 of 2 checked validation images are nearly equal to training images" in problem.description
    assert problem.files == ("p1 ~ p5",)


def test_images_with_only_ignored_pixels_are_reported(config: DataConfig):
    _save(config, "p1", np.full((24, 32), 255))
    report = _check(config)
    problem = _only_problem(report)
    assert problem.severity == "warning"
    assert "1 of 4 checked images have only ignored pixels" in problem.description
    assert problem.files == ("p1",)
    for i in (4, 5):
        _save(config, f"p{i}", np.full((24, 32), 255))
    (problem,) = [problem for problem in _check(config).problems if "/val: " in problem.description]
    assert problem.severity == "error"
    assert "/val: no labeled pixel in 2 checked images" in problem.description
    for i in range(4):
        _save(config, f"p{i}", np.full((24, 32), 255))
    assert "no labeled pixel" in _check(config).errors[0].description


def test_a_single_class_is_an_error_and_an_absent_class_a_warning(config: DataConfig):
    for i in (1, 3):
        _save(config, f"p{i}", np.asarray(Image.open(Path(config.root or "") / "masks/p0.png")))
    problem = _only_problem(_check(config))
    assert problem.severity == "warning"
    assert "no pixel of stem" in problem.description
    assert "stem would be evaluated but never learned" in problem.consequence
    _save(config, "p5", np.asarray(Image.open(Path(config.root or "") / "masks/p0.png")))
    assert _only_problem(_check(config)).consequence == "stem cannot be learned"
    for i in range(4):
        _save(config, f"p{i}", np.zeros((24, 32)))
    assert "the masks hold only background" in _check(config).errors[0].description


def test_a_dominant_class_and_many_ignored_pixels_are_reported(config: DataConfig):
    for i in range(4):
        ids = np.zeros((24, 32))
        ids[0, :2] = 1, 2
        _save(config, f"p{i}", ids)
    assert "99.7% of the labeled pixels are background" in _only_problem(_check(config)).description
    for i in range(4):
        ids = np.full((24, 32), 255)
        ids[0, :3] = 0, 1, 2
        _save(config, f"p{i}", ids)
    assert "99.6% of all pixels are ignored" in _only_problem(_check(config)).description


def test_the_check_before_a_training_is_not_repeated_until_the_data_change(
    config: DataConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = tmp_path / "run"
    check_before_training(config, run)
    assert "0 problems" in capsys.readouterr().out
    content = json.loads((run / REPORT_FILE).read_text())
    # Each class has half the pixels of the images that contain it; background is in 4 images, the others in 2 each.
    assert content["class_weights"]["median_frequency"] == [1, 1, 1]
    background, leaf, stem = content["class_weights"]["effective_number"]
    assert leaf == stem == pytest.approx(background * (1 + 0.999 + 0.999**2 + 0.999**3) / (1 + 0.999))
    assert Image.open(run / GRID_FILE).width == 1600
    check_before_training(config, run)
    assert "unchanged" in capsys.readouterr().out
    _save(config, "p2", np.full((24, 32), 9))
    for _ in range(2):
        with pytest.raises(UserError, match=r"values that are not class ids .*p2.png: expected labels"):
            check_before_training(config, run)
        # The exception has the error; the rest of the report is printed.
        printed = capsys.readouterr().out
        assert "median_frequency" in printed
        assert "values that are not class ids" not in printed
    _save(config, "p2", np.full((24, 32), 1))
    assert check_before_training(config, run, full=True).splits[0].images == (3, 2, 2)
    assert "leaf" in capsys.readouterr().out


def test_all_files_with_a_problem_are_named_in_the_report(config: DataConfig, tmp_path: Path):
    for i in range(4):
        _save(config, f"p{i}", np.full((24, 32), 77))
    with pytest.raises(UserError, match=r"p0.png: expected labels .*, got 77 and 3 more\)"):
        check_before_training(config, tmp_path / "run")
    content = json.loads((tmp_path / "run" / REPORT_FILE).read_text())
    assert [file.partition(".png")[0][-2:] for file in content["problems"][0]["files"]] == ["p0", "p1", "p2", "p3"]


def test_values_that_label_ids_leave_out_are_reported(config: DataConfig):
    """Classes 0 and 1 are listed, 2 is not: a quarter of the training pixels, a quarter of validation's."""
    changed = dataclasses.replace(config, classes=("background", "leaf"), label_ids=(0, 1))
    train, val = (p for p in _check(changed).problems if "data.label_ids lacks" in p.description)
    assert "train: 25.0% of the pixels have values that data.label_ids lacks: 2" in train.description
    assert "val: 25.0%" in val.description


def test_a_check_of_other_data_does_not_replace_that_of_a_training(
    config: DataConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run, other = tmp_path / "run", make_folder(tmp_path / "other", 4)
    check_before_training(config, run, full=True)
    before = (run / REPORT_FILE).read_bytes()
    write_json(run / "train.json", to_mapping(TrainConfig(run=str(run), data=config)))
    with pytest.raises(UserError, match=r"has a training on data=folder data.root=.*this check is of .*other"):
        check_before_training(other, run, full=True)
    assert (run / REPORT_FILE).read_bytes() == before
    check_before_training(config, run, full=True)
    (run / "train.json").unlink()
    capsys.readouterr()
    check_before_training(other, run, full=True)
    assert f"Replacing the data check of data=folder data.root={tmp_path} in {run}" in capsys.readouterr().out


def test_problems_of_the_files_themselves_are_reported_for_both_splits(config: DataConfig):
    root = Path(config.root or "")
    exif = Image.Exif()
    exif[0x0112] = 3
    for i in (1, 5):
        Image.open(root / f"images/p{i}.jpg").save(root / f"images/p{i}.jpg", exif=exif)
    for split in ((0, 1), (4, 5)):
        for i, colors in zip(split, ([0, 0, 0, 128, 0, 0, 9, 9, 9], [0, 0, 0, 0, 128, 0, 9, 9, 9]), strict=True):
            mask = Image.open(root / f"masks/p{i}.png")
            mask.putpalette(colors)
            mask.save(root / f"masks/p{i}.png")
    (root / "images/phone.heic").write_bytes(b"1")
    descriptions = [problem.description for problem in _check(config).problems]
    assert sorted(text.partition(f"{root.name}/")[2] for text in descriptions) == [
        "train: 1 files next to the images and masks are not used",
        "train: 1 of 4 checked images have an EXIF orientation",
        "train: the masks have 2 different palettes",
        "val: 1 of 2 checked images have an EXIF orientation",
        "val: the masks have 2 different palettes",
    ]
    splits = [open_source(config, split) for split in ("train", "val")]
    problems = check_data(*splits, None, color_masks=True)[0].problems
    assert not [problem for problem in problems if "palettes" in problem.description]


def test_real_images_have_no_errors(voc_root: Path, tmp_path: Path):
    config = DataConfig(source="voc", root=str(voc_root))
    splits = [open_source(config, split) for split in ("train", "val")]
    report = check_data(splits[0], splits[1], 40)[0]
    assert report.errors == ()
    assert report.splits[0].checked == 40
    assert sum(report.splits[0].pixels) > 40 * 100_000


@pytest.fixture
def with_unlabeled(config: DataConfig, tmp_path: Path) -> DataConfig:
    """The six images, and three without masks in `more`."""
    (tmp_path / "more").mkdir()
    for name in "abc":
        Image.fromarray(np.full((20, 30, 3), 50, np.uint8)).save(tmp_path / "more" / f"{name}.png")
    return dataclasses.replace(config, unlabelled=str(tmp_path / "more"))


def test_images_without_masks_are_checked_like_the_others(with_unlabeled: DataConfig, tmp_path: Path, capsys):
    run, more = tmp_path / "run", tmp_path / "more"
    check_before_training(with_unlabeled, run, full=True)
    assert f"data.unlabelled={more}: 3 images without masks, 3 checked" in capsys.readouterr().out
    report = check_before_training(with_unlabeled, run)
    assert check_before_training(with_unlabeled, run) == report
    assert "unchanged" in capsys.readouterr().out
    assert report.problems == ()
    assert [split.checked for split in report.splits] == [4, 2]
    (more / "b.png").write_text("no image")
    expected = (
        rf"data\.unlabelled={more}: 1 of 3 images: a file cannot be read \({more / 'b.png'}: .*: the training stops"
    )
    with pytest.raises(UserError, match=expected):
        check_before_training(with_unlabeled, run)
    skipping = dataclasses.replace(with_unlabeled, on_unreadable="skip")
    assert _only_problem(check_before_training(skipping, run)).severity == "warning"
    (more / "a.png").write_text("no image")  # More than half cannot be read.
    with pytest.raises(UserError, match="2 of 3 images: a file cannot be read"):
        check_before_training(skipping, run)


def test_an_unfinished_training_refuses_other_images_without_masks(with_unlabeled: DataConfig, tmp_path: Path, capsys):
    run, more = tmp_path / "run", tmp_path / "more"
    content = (more / "c.png").read_bytes()
    check_before_training(with_unlabeled, run)
    (more / "c.png").unlink()
    check_before_training(with_unlabeled, run)  # Nothing has been trained yet.
    (run / "state" / "step-10").mkdir(parents=True)  # Not the name of a checkpoint.
    for change in (lambda: (more / "c.png").write_bytes(content), (more / "c.png").unlink):
        change()
        check_before_training(with_unlabeled, run)
    (run / "state" / "step-00000010.npz").touch()
    (more / "c.png").write_bytes(content)
    before = (run / REPORT_FILE).read_bytes()
    changed = rf"data\.unlabelled={more}: has changed since run={run} began: "
    remedy = r"; restore the folder, or choose another run=FOLDER"
    for full in (False, True):
        with pytest.raises(UserError, match=f"{changed}expected 2 images, got 3{remedy}"):
            check_before_training(with_unlabeled, run, full=full)
    assert (run / REPORT_FILE).read_bytes() == before
    (more / "a.png").unlink()
    with pytest.raises(UserError, match=f"{changed}its images have other names or sizes{remedy}"):
        check_before_training(with_unlabeled, run)
    (run / REPORT_FILE).write_bytes(before[:100])  # What the training began with is not known.
    check_before_training(with_unlabeled, run)
    (run / REPORT_FILE).write_bytes(before)
    # The images of the start, with other modification times.
    (more / "c.png").rename(more / "a.png")
    check_before_training(with_unlabeled, run)
    (more / "c.png").write_bytes(content)
    (run / "model.weights.h5").touch()  # The training is complete.
    check_before_training(with_unlabeled, run)
