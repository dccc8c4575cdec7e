import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.config import DataConfig
from deeplab.data_check.check import GRID, REPORT, check_before_training, check_data
from deeplab.data_check.data_report import DataReport, Finding
from deeplab.datasets.open import open_source
from deeplab.errors import UserError
from tests.datasets.test_folder import make_folder


def _check(config: DataConfig, skip: bool = False) -> DataReport:
    splits = (open_source(config, split) for split in (config.train_split, config.val_split))
    return check_data(*splits, None, skip)[0]


def _lists(root: Path, train: range, val: range) -> None:
    (root / "train.txt").write_text("".join(f"p{i}\n" for i in train))
    (root / "val.txt").write_text("".join(f"p{i}\n" for i in val))


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    """Six pictures without fault: p0..p3 to train on, p4 and p5 to measure on."""
    config = make_folder(tmp_path, 6, classes=("background", "leaf", "stem"))
    _lists(tmp_path, range(4), range(4, 6))
    return config


def _save(config: DataConfig, name: str, ids: np.ndarray) -> None:
    Image.fromarray(ids.astype(np.uint8)).save(Path(config.root or "") / f"masks/{name}.png")


def _only(report: DataReport) -> Finding:
    assert len(report.findings) == 1, report.text()
    return report.findings[0]


def test_good_data_have_no_findings_and_are_counted(config: DataConfig):
    report = _check(config)
    assert report.findings == ()
    train, val = report.splits
    # Four masks of 24 x 32: the left half is background, the right half leaf, stem, leaf, stem.
    assert train.pixels == (4 * 384, 2 * 384, 2 * 384)
    assert train.pictures == (4, 2, 2)
    assert train.shared == (4 * 768, 2 * 768, 2 * 768)
    assert (train.ignored, train.looked_at, val.looked_at) == (0, 4, 2)


def test_values_out_of_range_are_found_with_file_and_numbering(config: DataConfig):
    ids = np.zeros((24, 32))
    ids[0, 0], ids[1, 1] = 7, 9
    _save(config, "p2", ids)
    finding = _only(_check(config))
    assert finding.severity == "stop"
    assert "1 of 4 pictures: the mask has values that are no class" in finding.what
    assert "values of these masks: 0, 7, 9" in finding.meaning
    assert "data.label_ids=[0,7,9]" in finding.remedy
    assert "p2.png: label 9 with 3 classes" in finding.files[0]


def test_masks_of_black_and_white_are_found(tmp_path: Path):
    config = make_folder(tmp_path, 4)
    for i in range(4):
        ids = np.asarray(Image.open(tmp_path / f"masks/p{i}.png"))
        _save(config, f"p{i}", ids * 255)
    finding = _only(_check(config))
    assert finding.severity == "stop"
    assert "hold 0 and 255 alone" in finding.what
    assert finding.remedy == "data.label_ids=[0,255]"
    assert finding.files == open_source(config, "train").names
    assert _check(dataclasses.replace(config, label_ids=(0, 255))).findings == ()


def test_a_mask_of_black_and_white_among_masks_of_ids_is_named(config: DataConfig, tmp_path: Path):
    """One of eight is warned of; one of four stops the training."""
    white = np.zeros((24, 32))
    white[:, 16:] = 255
    _save(config, "p1", white)
    few = _check(config)
    (found,) = [finding for finding in few.findings if "0 and 255 alone" in finding.what]
    assert (found.severity, found.files) == ("stop", ("p1",))
    assert "1 of 4 pictures looked at have masks of 0 and 255 alone, others hold ids" in found.what
    more = make_folder(tmp_path / "more", 8, classes=("background", "leaf", "stem"))
    _lists(tmp_path / "more", range(8), range(7, 8))
    _save(more, "p1", white)
    (found,) = [finding for finding in _check(more).findings if "0 and 255 alone" in finding.what]
    assert found.severity == "warning"


def test_color_masks_taken_for_ids_are_found(config: DataConfig):
    for i in range(6):
        path = Path(config.root or "") / f"masks/p{i}.png"
        Image.open(path).convert("RGB").save(path)
    report = _check(config)
    assert "4 of 4 pictures: the mask has colors" in report.stops[0].what
    assert "data.colors" in report.stops[0].remedy
    assert "p0.png" in report.stops[0].files[0]


def test_masks_of_another_size_are_found(config: DataConfig):
    _save(config, "p1", np.zeros((24, 31)))
    finding = _only(_check(config))
    assert finding.severity == "stop"
    assert "p1.png: the mask is 31x24 pixels, its picture" in finding.files[0]
    assert "nearest" in finding.remedy
    _save(config, "p1", np.zeros((32, 24)))
    assert "EXIF" in _only(_check(config)).remedy


def test_unreadable_and_missing_files_are_found(config: DataConfig):
    picture = Path(config.root or "") / "images/p3.jpg"
    splits = [open_source(config, split) for split in ("train", "val")]
    picture.write_bytes(picture.read_bytes()[:300])
    finding = _only(check_data(splits[0], splits[1], None)[0])
    assert finding.severity == "stop"
    assert "p3.jpg: cannot be read" in finding.files[0]
    picture.unlink()
    finding = _only(check_data(splits[0], splits[1], None)[0])
    assert "a file is missing" in finding.what
    assert "p3.jpg" in finding.files[0]


def test_faults_that_are_skipped_do_not_stop_unless_most_are(config: DataConfig):
    _save(config, "p1", np.zeros((24, 31)))
    assert _only(_check(config, skip=True)).severity == "warning"
    for name in ("p2", "p3"):
        _save(config, name, np.zeros((24, 31)))
    assert _check(config, skip=True).stops
    _save(config, "p4", np.zeros((24, 31)))
    assert "val: 1 of 2" in _check(config, skip=True).stops[1].what


def test_splits_that_overlap_are_found_by_name_and_by_content(config: DataConfig):
    root = Path(config.root or "")
    _lists(root, range(4), range(3, 6))
    finding = _only(_check(config))
    assert finding.severity == "warning"
    assert "1 of 3 validation pictures are trained on" in finding.what
    assert finding.files == ("p3",)
    _lists(root, range(4), range(4, 6))
    for part, end in (("images", "jpg"), ("masks", "png")):
        (root / part / f"p5.{end}").write_bytes((root / part / f"p0.{end}").read_bytes())
    assert _only(_check(config)).files == ("p0 = p5",)


def test_pictures_of_nothing_but_ignore_are_found(config: DataConfig):
    _save(config, "p1", np.full((24, 32), 255))
    report = _check(config)
    finding = _only(report)
    assert finding.severity == "warning"
    assert "1 of 4 pictures looked at have nothing but ignored pixels" in finding.what
    assert finding.files == ("p1",)
    for i in range(4):
        _save(config, f"p{i}", np.full((24, 32), 255))
    assert "not one labeled pixel" in _check(config).stops[0].what


def test_one_class_alone_stops_and_absent_classes_warn(config: DataConfig):
    for i in (1, 3):
        _save(config, f"p{i}", np.asarray(Image.open(Path(config.root or "") / "masks/p0.png")))
    finding = _only(_check(config))
    assert finding.severity == "warning"
    assert "no pixel of stem" in finding.what
    assert "stem would be measured and never learned" in finding.meaning
    for i in range(4):
        _save(config, f"p{i}", np.zeros((24, 32)))
    assert "hold background alone" in _check(config).stops[0].what


def test_a_class_that_crowds_out_the_others_and_much_ignore_are_found(config: DataConfig):
    for i in range(4):
        ids = np.zeros((24, 32))
        ids[0, :2] = 1, 2
        _save(config, f"p{i}", ids)
    assert "99.7% of the labeled pixels are background" in _only(_check(config)).what
    for i in range(4):
        ids = np.full((24, 32), 255)
        ids[0, :3] = 0, 1, 2
        _save(config, f"p{i}", ids)
    assert "99.6% of all pixels are ignored" in _only(_check(config)).what


def test_the_check_before_a_training_is_kept_until_the_data_change(
    config: DataConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = tmp_path / "run"
    check_before_training(config, run)
    assert "0 findings" in capsys.readouterr().out
    content = json.loads((run / REPORT).read_text())
    # Every class has half the pixels of the pictures that it is in; background is in 4 pictures, the others in 2 each.
    assert content["class_weights"]["median_frequency"] == [1, 1, 1]
    background, leaf, stem = content["class_weights"]["effective_number"]
    assert leaf == stem == pytest.approx(background * (1 + 0.999 + 0.999**2 + 0.999**3) / (1 + 0.999))
    assert Image.open(run / GRID).width == 1600
    check_before_training(config, run)
    assert "unchanged" in capsys.readouterr().out
    _save(config, "p2", np.full((24, 32), 9))
    for _ in range(2):
        with pytest.raises(UserError, match=r"values that are no class .*p2.png: label 9"):
            check_before_training(config, run)
        assert "STOP" in capsys.readouterr().out
    _save(config, "p2", np.full((24, 32), 1))
    assert check_before_training(config, run, full=True).splits[0].pictures == (3, 2, 2)
    assert "leaf" in capsys.readouterr().out


def test_the_real_pictures_pass(voc_root: Path, tmp_path: Path):
    config = DataConfig(source="voc", root=str(voc_root))
    splits = [open_source(config, split) for split in ("train", "val")]
    report = check_data(splits[0], splits[1], 40)[0]
    assert report.stops == ()
    assert report.splits[0].looked_at == 40
    assert sum(report.splits[0].pixels) > 40 * 100_000
