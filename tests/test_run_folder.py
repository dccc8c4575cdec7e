import json
import shutil

import pytest

from deeplab.config import DataConfig, ModelConfig, TrainConfig, to_mapping
from deeplab.datasets.open import open_source
from deeplab.errors import UserError
from deeplab.files import write_json
from deeplab.model.build import build_model
from deeplab.run_folder import check_class_count, load_model, load_weights, open_model, save_scores
from deeplab.tflite import tflite_file

CLASSES = ("background", "a", "b")


@pytest.fixture
def run(make_run, tmp_path):
    """A copy of a small run, with the settings of its training."""
    folder = tmp_path / "run"
    shutil.copytree(make_run(CLASSES), folder)
    training = TrainConfig(data=DataConfig(source="shapes", val_size=3))
    (folder / "train.json").write_text(json.dumps(to_mapping(training)))
    return folder


def test_a_run_folder_is_described_by_its_files(run):
    model = open_model(run)
    assert model.description.classes == CLASSES
    assert model.description.config.classes == 3
    assert not model.is_tflite
    assert (model.folder, model.weights_file) == (run, run / "model.weights.h5")
    assert load_model(run, output_stride=16).input_shape == (None, None, None, 3)


def test_data_keys_change_or_replace_the_data_of_the_training(run):
    model = open_model(run)
    assert model.data(None) == DataConfig(source="shapes", val_size=3)
    assert model.data({"val_size": 7}) == DataConfig(source="shapes", val_size=7)
    assert model.data({"source": "voc", "root": "x"}) == DataConfig(source="voc", root="x")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content.pop("classes"), "classes: a value is required"),
        (lambda content: content["classes"].pop(), "2 class names for 3 classes"),
    ],
)
def test_a_damaged_description_is_named(run, change, problem):
    content = json.loads((run / "model.json").read_text())
    change(content)
    (run / "model.json").write_text(json.dumps(content))
    with pytest.raises(UserError) as raised:
        _ = open_model(run).description
    assert raised.value.subject == str(run / "model.json")
    assert problem in raised.value.problem


def test_unknown_settings_in_train_json_name_the_file_and_the_remedy(run):
    (run / "train.json").write_text(json.dumps({"data": {"prepared": None}}))
    with pytest.raises(UserError) as raised:
        _ = open_model(run).training
    assert raised.value.subject == str(run / "train.json")
    assert raised.value.problem.startswith("data.prepared: unknown key")
    assert "train again" in raised.value.remedy


def test_features_that_older_versions_wrote_for_every_source_are_left_out(run):
    written = {"image_feature": "image", "label_feature": "segmentation_mask"}
    (run / "train.json").write_text(json.dumps({"data": {"source": "shapes", "val_size": 3} | written}))
    assert open_model(run).data(None) == DataConfig(source="shapes", val_size=3)
    assert open_source(open_model(run).data(None), "val").size == 3
    (run / "train.json").write_text(json.dumps({"data": {"source": "tfds", "name": "oxford_iiit_pet"} | written}))
    assert open_model(run).data(None) == DataConfig(source="tfds", name="oxford_iiit_pet")
    (run / "train.json").write_text(json.dumps({"data": {"source": "shapes", "label_feature": "mask"}}))
    with pytest.raises(UserError, match="data=shapes does not use it"):
        open_source(open_model(run).data(None), "val")


def test_a_run_whose_frozen_statistics_were_to_be_re_estimated_is_still_read(run):
    """Older versions accepted both settings."""
    for batch_norm, expected in (("frozen", 0), ("frozen_statistics", 0), ("train", 5)):
        training = {"batch_norm": batch_norm, "recalibration_batches": 5}
        (run / "train.json").write_text(json.dumps({"training": training}))
        assert open_model(run).training.training.recalibration_batches == expected


def test_the_number_of_further_neighbors_is_stated(tmp_path):
    for i in range(13):
        (tmp_path / f"run{i:02d}").mkdir()
    with pytest.raises(UserError, match=r"\(found: run00, .*, run09 and 3 more\)"):
        open_model(tmp_path / "runn")


def test_a_missing_run_is_named_with_its_neighbors(run):
    with pytest.raises(UserError, match=r"^run=.*/runn: no such folder \(found: run\); give a run folder, a \.tflite"):
        open_model(run.with_name("runn"))
    with pytest.raises(UserError, match=r"contains no model\.json; give the run folder of a complete training"):
        open_model(run.parent)


def test_a_training_that_is_not_finished_is_said_with_its_command(tmp_path):
    folder, data = tmp_path / "my run", DataConfig(source="tfds", name="pets", root="my scenes")
    write_json(folder / "train.json", to_mapping(TrainConfig(data=data)))
    with pytest.raises(UserError, match=r"contains no model\.json; give the run folder of a complete training"):
        open_model(folder)
    (folder / "state").mkdir()
    (folder / "state" / "step-00000100.npz").touch()
    line = rf"python train\.py 'run={folder}' data=tfds data\.name=pets 'data\.root=my scenes', with its other settings"
    with pytest.raises(UserError, match=rf"not finished; resume it by the command that started it: {line}"):
        open_model(folder)


def test_damaged_weights_are_named(run):
    (run / "model.weights.h5").write_bytes(b"x" * 100)
    with pytest.raises(UserError, match=r"model\.weights\.h5: is damaged or of another training: expected SHA-256"):
        load_model(run)


def test_weights_of_another_network_are_named_with_their_layer_and_shapes(tmp_path):
    fields = {"depth_multiplier": 0.05, "head": "v1", "aspp_rates": (6,)}
    path = tmp_path / "model.weights.h5"
    build_model(ModelConfig(**fields, classes=5)).save_weights(path)
    # 320 channels times 0.05; a kernel of 3x3 pixels.
    with pytest.raises(UserError, match=r"layer logits: expected shape \(3, 3, 16, 7\), got \(3, 3, 16, 5\)"):
        load_weights(build_model(ModelConfig(**fields, classes=7)), path)


def test_scores_of_other_output_strides_are_kept(tmp_path):
    save_scores(tmp_path, {"16": {"miou": 0.5}})
    save_scores(tmp_path, {"8": {"miou": 0.6}})
    assert json.loads((tmp_path / "scores.json").read_text()) == {"16": {"miou": 0.5}, "8": {"miou": 0.6}}


def test_the_class_counts_must_match():
    check_class_count(CLASSES, 3, "runs/a")
    with pytest.raises(UserError, match="the data has 3 classes, the model of runs/a has 21"):
        check_class_count(CLASSES, 21, "runs/a")


def test_a_tflite_file_is_read_once_while_it_is_unchanged(official_models, tmp_path, monkeypatch):
    path = tmp_path / "model.tflite"
    shutil.copy(official_models / "starter_deeplabv3_257_float.tflite", path)
    reads = []
    original = tflite_file.open_tflite
    monkeypatch.setattr(tflite_file, "open_tflite", lambda source: reads.append(source) or original(source))
    assert open_model(path).tflite is open_model(path).tflite
    assert reads == [path]
    path.write_bytes(path.read_bytes() + b"\0" * 16)
    _ = open_model(path).tflite
    assert reads == [path, path]
