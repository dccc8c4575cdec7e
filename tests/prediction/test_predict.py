"""The files that predict writes for images and videos, with a run folder and with an official file."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from deeplab.config import PredictConfig
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


def test_error_names_a_truncated_image(run, tmp_path):
    Image.fromarray(random_image(1, 60, 80)).save(tmp_path / "half.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "half.png").read_bytes()[:100])
    with pytest.raises(UserError, match=r"half\.png: cannot be read"):
        run_prediction(PredictConfig(run, str(tmp_path / "half.png"), str(tmp_path / "out")))
