"""The files that predict writes for images and videos, with a run folder and with an official file."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from deeplab.config import DataConfig, PredictConfig, TrainConfig, to_mapping
from deeplab.errors import UserError
from deeplab.prediction.predict import run_prediction
from deeplab.prediction.video import Video, overlay_writer
from deeplab.run_folder import load_model

CLASSES = ("background", "cat", "dog")


@pytest.fixture(scope="module")
def run(make_run) -> str:
    return str(make_run(CLASSES))


def random_image(seed: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 256, (3, 4, 3)), np.ones((20, 20, 1), int)).astype(np.uint8)[:height, :width]


def read_ids(path: Path) -> np.ndarray:
    with Image.open(path) as mask:
        return np.asarray(mask)


def test_every_image_of_a_folder_is_predicted(run, tmp_path):
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for name, size in (("a", (50, 70)), ("b", (33, 65))):
        Image.fromarray(random_image(len(name), *size)).save(images / f"{name}.png")
    shares = run_prediction(PredictConfig(run, str(images), str(out), output_stride=8))
    assert sorted(p.name for p in out.iterdir()) == sorted(
        [f"{name}_{kind}.png" for name in "ab" for kind in ("ids", "legend", "mask", "overlay")] + ["shares.json"]
    )
    # The same prediction without the toolkit's predictor.
    logits = load_model(run, 8)(random_image(1, 50, 70)[None].astype(np.float32), training=False)
    expected = np.asarray(logits)[0].argmax(-1)
    assert len(np.unique(expected)) > 1
    for kind in ("ids", "mask"):
        # Compiled and eager arithmetic may order nearly equal scores differently.
        assert (read_ids(out / f"a_{kind}.png") == expected).mean() > 0.998
    with Image.open(out / "a_overlay.png") as overlay, Image.open(out / "a_legend.png") as legend:
        assert overlay.size == (70, 50)
        assert legend.width > 70
    assert json.loads((out / "shares.json").read_text()) == shares
    assert sum(shares["a"].values()) == pytest.approx(1)
    for i, name in enumerate(CLASSES):
        assert shares["a"].get(name, 0) == pytest.approx((expected == i).mean(), abs=0.002)


def test_large_image_is_predicted_in_tiles(run, tmp_path):
    Image.fromarray(random_image(5, 60, 80)).save(tmp_path / "big.png")
    run_prediction(PredictConfig(run, str(tmp_path / "big.png"), str(tmp_path / "out"), tile=33, overlap=8))
    ids = read_ids(tmp_path / "out" / "big_ids.png")
    assert ids.shape == (60, 80)
    corner = load_model(run, 16)(random_image(5, 60, 80)[None, :33, :33].astype(np.float32), training=False)
    np.testing.assert_array_equal(ids[:20, :20], np.asarray(corner)[0].argmax(-1)[:20, :20])


def test_video_yields_an_overlay_video_and_lossless_ids(run, tmp_path):
    with overlay_writer(tmp_path / "film.mp4", Video(None, Fraction(5), (40, 64))) as writer:
        for i in range(3):
            writer.write(random_image(i, 40, 64))
    shares = run_prediction(PredictConfig(run, str(tmp_path / "film.mp4"), str(tmp_path / "out")))
    with av.open(str(tmp_path / "out" / "film_ids.mkv")) as container:
        ids = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])
    with av.open(str(tmp_path / "out" / "film_overlay.mp4")) as container:
        assert len(list(container.decode(video=0))) == 3
    assert ids.shape == (3, 40, 64)
    assert ids.max() < 3
    assert shares["film"]["cat"] == pytest.approx((ids == 1).mean())


def test_official_file_segments_the_bird(official_models, tmp_path):
    path = official_models / "deeplabv3_mnv2_pascal_quant.tflite"
    bird = official_models / "bird_segmentation.bmp"
    shares = run_prediction(PredictConfig(str(path), str(bird), str(tmp_path)))
    assert list(shares["bird_segmentation"])[:2] == ["background", "bird"]
    golden = read_ids(official_models / "bird_segmentation_mask.bmp")
    ids = read_ids(tmp_path / "bird_segmentation_ids.png")
    # The golden mask is a color image, black except for the bird.
    is_bird = golden.reshape(*golden.shape[:2], -1).max(-1) > 0
    assert ids.shape == is_bird.shape
    # The golden mask was computed by another runtime.
    assert ((ids == 3) == is_bird).mean() > 0.97


def test_stretched_images_cause_a_warning_that_names_the_tile_size(official_models, tmp_path):
    path = official_models / "starter_deeplabv3_257_float.tflite"
    Image.fromarray(random_image(1, 60, 80)).resize((600, 300)).save(tmp_path / "big.png")
    with pytest.warns(UserWarning, match=r"1 image\(s\) or frame\(s\) larger than .*; tile=257"):
        run_prediction(PredictConfig(str(path), str(tmp_path / "big.png"), str(tmp_path / "out")))
    with pytest.raises(UserError, match="tile=257"):
        run_prediction(PredictConfig(str(path), str(tmp_path / "big.png"), str(tmp_path / "out"), tile=300))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def test_unreadable_inputs_are_named_and_skipped_and_all_others_written(run, tmp_path):
    for name in "abc":
        Image.fromarray(random_image(1, 40, 50)).save(tmp_path / f"{name}.png")
    truncate(tmp_path / "b.png")
    (tmp_path / "film.mp4").write_bytes(b"no video")
    with (
        pytest.warns(UserWarning, match=r"skipped .*b\.png: cannot be read"),
        pytest.warns(UserWarning, match=r"skipped .*film\.mp4: is not a readable video"),
        pytest.raises(UserError, match=r"2 of 4 inputs were skipped: b\.png, film\.mp4"),
    ):
        run_prediction(PredictConfig(run, str(tmp_path), str(tmp_path / "out")))
    written = {p.name for p in (tmp_path / "out").iterdir()}
    assert written == {f"{n}_{kind}.png" for n in "ac" for kind in ("ids", "legend", "mask", "overlay")} | {
        "shares.json"
    }
    assert list(json.loads((tmp_path / "out" / "shares.json").read_text())) == ["a", "c"]


def test_error_names_a_truncated_image_and_nothing_is_written(run, tmp_path):
    Image.fromarray(random_image(1, 60, 80)).save(tmp_path / "half.png")
    truncate(tmp_path / "half.png")
    with pytest.raises(UserError, match=r"half\.png: cannot be read"):
        run_prediction(PredictConfig(run, str(tmp_path / "half.png"), str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_voc_format_writes_only_indexed_masks_named_as_the_images(run, tmp_path):
    year = tmp_path / "VOC2012"
    (year / "JPEGImages").mkdir(parents=True)
    (year / "ImageSets/Segmentation").mkdir(parents=True)
    for name, size in (("2008_1", (50, 70)), ("2008_2", (33, 65))):
        Image.fromarray(random_image(1, *size)).save(year / f"JPEGImages/{name}.jpg")
    (year / "ImageSets/Segmentation/test.txt").write_text("2008_1\n2008_2\n")
    out = tmp_path / "results/VOC2012/Segmentation/comp6_test_cls"
    run_prediction(PredictConfig(run, str(year / "ImageSets/Segmentation/test.txt"), str(out), format="voc"))
    assert sorted(p.name for p in out.iterdir()) == ["2008_1.png", "2008_2.png"]
    run_prediction(PredictConfig(run, str(year / "JPEGImages"), str(tmp_path / "all")))
    with Image.open(out / "2008_1.png") as mask:
        assert (mask.format, mask.mode, mask.size) == ("PNG", "P", (70, 50))
        # The colors of aeroplane and bicycle in VOCdevkit's color map.
        assert mask.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
    np.testing.assert_array_equal(read_ids(out / "2008_1.png"), read_ids(tmp_path / "all/2008_1_ids.png"))
    assert read_ids(out / "2008_1.png").max() in (1, 2)


@pytest.mark.parametrize(
    ("files", "out", "message"),
    [
        (["a.png", "film.mp4"], "out", "format=voc: .*film.mp4 is a video; "),
        (["a.png", "a.jpg"], "out", "format=voc: several images are called a; "),
        (["x/a.png", "y/a.png"], "out", "format=voc: several images are called a; "),
        (["a.png"], "", "out: .* is the folder of the images: "),
    ],
)
def test_voc_format_refuses_inputs_that_cannot_be_named(run, tmp_path, files, out, message):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(random_image(1, 40, 50)).save(tmp_path / name, "PNG")
    pattern = tmp_path / "**" / "*" if "x/a.png" in files else tmp_path
    with pytest.raises(UserError, match=message):
        run_prediction(PredictConfig(run, str(pattern), str(tmp_path / out), format="voc"))


def test_voc_format_does_not_overwrite_an_image_named_from_its_own_folder(run, tmp_path, monkeypatch):
    Image.fromarray(random_image(1, 40, 50)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^out: a\.png would be overwritten; "):
        run_prediction(PredictConfig(run, "a.png", str(tmp_path), format="voc"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_interrupt_leaves_no_file_of_an_image_that_is_not_complete(run, tmp_path, monkeypatch):
    Image.fromarray(random_image(1, 40, 50)).save(tmp_path / "a.png")
    save = Image.Image.save

    def interrupt(image: Image.Image, path: Path, *args: str) -> None:
        if image.mode == "RGB":
            raise KeyboardInterrupt
        save(image, path, *args)

    monkeypatch.setattr(Image.Image, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_prediction(PredictConfig(run, str(tmp_path / "a.png"), str(tmp_path / "out")))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["a[bold]b", "x[", ":car:"])
def test_names_are_printed_as_they_are(run, tmp_path, capsys, name):
    folder = tmp_path / "[" / "deep"
    folder.mkdir(parents=True)
    Image.fromarray(random_image(1, 40, 50)).save(folder / f"{name}.png")
    # With two folders the name contains "[/", which is a closing tag of rich's markup.
    Image.fromarray(random_image(1, 40, 50)).save(folder.parent / "top.png")
    run_prediction(PredictConfig(run, str(tmp_path / "**" / "*.png"), str(tmp_path / "out[/red]")))
    printed = capsys.readouterr().out
    assert f"deep/{name}: " in printed
    assert "out[/red]" in printed


def with_training(run: str, folder: Path, **data: object) -> str:
    """Copy a run folder, and add the settings of a training."""
    shutil.copytree(run, folder)
    training = TrainConfig(run=str(folder), data=DataConfig(**data))
    (folder / "train.json").write_text(json.dumps(to_mapping(training)))
    return str(folder)


def test_images_are_padded_to_the_size_of_the_evaluation(run, tmp_path, recwarn):
    evaluated = with_training(run, tmp_path / "run", eval_size=129)
    image = random_image(1, 50, 60)
    Image.fromarray(image).save(tmp_path / "a.png")
    run_prediction(PredictConfig(evaluated, str(tmp_path / "a.png"), str(tmp_path / "out")))
    padded = np.full((129, 129, 3), 127.5, np.float32)
    padded[:50, :60] = image
    expected = np.asarray(load_model(run, 16)(padded[None], training=False))[0, :50, :60].argmax(-1)
    own = np.asarray(load_model(run, 16)(image[None].astype(np.float32), training=False))[0].argmax(-1)
    ids = read_ids(tmp_path / "out" / "a_ids.png")
    assert (ids == expected).mean() > 0.998
    assert (ids == own).mean() < 0.99
    assert not [w for w in recwarn if "evaluated" in str(w.message)]


@pytest.mark.parametrize(
    ("eval_size", "settings", "note"),
    [
        (65, {"image_size": 81}, "images were padded to 81x81, but the run was evaluated at 65x65 pixels"),
        (None, {"image_size": 81}, "padded to 81x81, but the run was evaluated with each image at its own size"),
        (
            45,
            {},
            r"1 image\(s\) or frame\(s\) larger than 45x45 pixels ran at their own size; the run was evaluated at",
        ),
        (65, {"tile": 33, "overlap": 8}, "images were padded to 33x33, but the run was evaluated at 65x65 pixels"),
    ],
)
def test_a_size_that_differs_from_that_of_the_evaluation_is_a_warning(run, tmp_path, eval_size, settings, note):
    evaluated = with_training(run, tmp_path / "run", eval_size=eval_size)
    Image.fromarray(random_image(1, 50, 60)).save(tmp_path / "a.png")
    with pytest.warns(UserWarning, match=note):
        run_prediction(PredictConfig(evaluated, str(tmp_path / "a.png"), str(tmp_path / "out"), **settings))


def test_images_that_were_scaled_for_the_evaluation_are_a_warning(run, tmp_path):
    evaluated = with_training(run, tmp_path / "run", min_resize_value=512)
    Image.fromarray(random_image(1, 40, 50)).save(tmp_path / "a.png")
    with pytest.warns(UserWarning, match="scaled by data.min_resize_value=512, but these were not scaled"):
        run_prediction(PredictConfig(evaluated, str(tmp_path / "a.png"), str(tmp_path / "out")))


def test_voc_format_refuses_the_opacity_of_overlays(run, tmp_path):
    Image.fromarray(random_image(1, 40, 50)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="opacity: format=voc writes no overlays"):
        run_prediction(PredictConfig(run, str(tmp_path / "a.png"), str(tmp_path / "o"), format="voc", opacity=0.7))


def test_image_is_turned_by_its_exif_orientation(run, tmp_path):
    image = Image.fromarray(random_image(1, 40, 60))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    run_prediction(PredictConfig(run, str(tmp_path / "a.png"), str(tmp_path / "out")))
    assert read_ids(tmp_path / "out" / "a_ids.png").shape == (60, 40)
