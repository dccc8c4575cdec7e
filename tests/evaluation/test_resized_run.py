"""A run on letterboxed images: training, evaluation, prediction and export meet every image in the same way."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.config import EvaluateConfig, ExportConfig, PredictConfig, TrainConfig, build
from deeplab.conversion.export import export
from deeplab.errors import UserError
from deeplab.evaluation.compare import run_evaluation
from deeplab.prediction.predict import run_prediction
from deeplab.prediction.predictor import keras_predictor, tflite_predictor
from deeplab.run_folder import load_model, open_model
from deeplab.tflite.interpreter import TfliteModel
from deeplab.training.train import train

TINY = {"depth_multiplier": 0.1, "head": "v3", "aspp_rates": [], "aspp_channels": 8, "batch_norm_momentum": 0.5}
SIZES = ((90, 160), (160, 90), (50, 40), (120, 200), (70, 70))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run on photos of several sizes whose upper part is dark."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for i, (height, width) in enumerate(SIZES):
        label = np.zeros((height, width), np.uint8)
        label[height // 3 :] = 1
        image = 150 * label[..., None] + rng.integers(0, 60, (height, width, 3))
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"{i}.png")
        Image.fromarray(label).save(folder / "masks" / f"{i}.png")
    path = folder / "run"
    settings = {
        "run": str(path),
        "model": TINY,
        "data": {"source": "folder", "root": str(folder), "classes": ["dark", "bright"], "train_split": "all"},
        "training": {"steps": 30, "batch_size": 5, "learning_rate": 0.1, "save_every": 30, "preview_images": 1},
        "output_stride": [16],
    }
    settings["data"] |= {"val_split": "all", "resize": "letterbox", "image_size": [65, 97]}
    if "plan" in TrainConfig.__dataclass_fields__:
        settings["plan"] = False
    train(build(TrainConfig, settings))
    return path


def rows(**settings) -> list[dict]:
    run_evaluation(EvaluateConfig(trimap_widths=(), bootstrap_samples=0, example_images=0, **settings))
    run = Path(settings["run"])
    return json.loads(((run.parent if run.suffix else run) / "evaluation.json").read_text())["rows"]


@pytest.mark.slow
def test_every_command_takes_fit_and_size_from_the_run(run, tmp_path):
    stored = json.loads((run / "model.json").read_text())
    assert (stored["fit"], stored["image_size"]) == ("letterbox", [65, 97])
    assert json.loads((run / "train.json").read_text())["training"]["crop_size"] == [65, 97]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "made for images|.* made for images|.* ran at their own size")
        (row,) = rows(run=str(run), output_stride=16)
        assert (row["fit"], row["image_size"]) == ("letterbox", [65, 97])
        assert row["miou"] == json.loads((run / "scores.json").read_text())["16"]["miou"]
        (report,) = export(ExportConfig(run=str(run), quantization="float32", agreement_images=2, max_miou_drop=100))
        assert report.input == "float32 [1, 65, 97, 3]"
        file = run / "float32.tflite"
        assert TfliteModel(file).fit == open_model(file).fit == "letterbox"
        data = {"source": "folder", "root": str(run.parent), "classes": ["dark", "bright"], "val_split": "all"}
        (exported,) = rows(run=str(file), data=data | {"train_split": "all"})
        assert exported["fit"] == "letterbox"
        assert abs(exported["miou"] - row["miou"]) < 0.002
        for model, out in ((run, "run"), (file, "file")):
            run_prediction(PredictConfig(str(model), str(run.parent / "images"), out=str(tmp_path / out)))
    network = keras_predictor(load_model(str(run), 16), (65, 97), "letterbox")
    for i, size in enumerate(SIZES):
        image = np.asarray(Image.open(run.parent / "images" / f"{i}.png"))
        ids = [np.asarray(Image.open(tmp_path / out / f"{i}_ids.png")) for out in ("run", "file")]
        assert ids[0].shape == size
        np.testing.assert_array_equal(ids[0], network(image))
        np.testing.assert_array_equal(ids[1], tflite_predictor(TfliteModel(file), "letterbox")(image))
        assert (ids[0] == ids[1]).mean() > 0.999


@pytest.mark.slow
def test_contradictions_are_named(run, tmp_path):
    with pytest.warns(UserWarning, match="made for images letterboxed to 65x97, but used with images padded to 65x97"):
        rows(run=str(run), output_stride=16, fit="pad")
    photo = str(run.parent / "images" / "0.png")
    with pytest.raises(UserError, match="tile: whole images are letterboxed to 65x97, so that tiles would show"):
        run_prediction(PredictConfig(str(run), photo, out=str(tmp_path), tile=70))
    with pytest.raises(
        UserError, match=r"data.resize: is a setting of a training; leave it out, or use fit= and image_size="
    ):
        rows(run=str(run), data={"resize": "none"})
    with pytest.warns(UserWarning, match="made for images letterboxed to 65x97, but used with .* letterboxed to 65x65"):
        export(
            ExportConfig(
                run=str(run), quantization="float32", image_size=65, out=str(tmp_path / "a.tflite"), max_miou_drop=100
            )
        )
