"""The model card states what report, run and file state, and nothing else."""

import json
from dataclasses import replace

import pytest

from deeplab.compatibility.summary import compatibility
from deeplab.config import DataConfig, ExportConfig, TrainConfig, TrainingConfig, to_mapping
from deeplab.conversion import model_card as card_module
from deeplab.conversion.checks import CheckId, check, not_checked
from deeplab.conversion.export_report import Report, sha256
from deeplab.conversion.model_card import model_card, write_model_card
from deeplab.data_check.check import data_identity
from deeplab.datasets.shapes import CLASSES
from deeplab.files import file_sha256
from deeplab.run_folder import ModelDescription, TrainedModel, save_model
from deeplab.tflite.tflite_file import open_tflite
from tests.conversion.conftest import SIZE, TINY

IOU = dict(zip(CLASSES, (0.9, 0.8, 0.7, 0.2, 0.0, None, 0.6), strict=True))
"""IoU by class; the mIoU over the six known values is 0.5333."""

SCOPE = "over the 6 of 7 classes in the labels of 20 images"
DROP = check(CheckId.MIOU_DROP, True, 0.25, 1.5, SCOPE, "53.08 %, 0.25 points below the Keras model")


@pytest.fixture
def run(workshop, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    save_model(folder, workshop.model, ModelDescription(TINY, CLASSES))
    data = DataConfig(source="folder", root="/secret/street")
    settings = TrainConfig(training=TrainingConfig(crop_size=97, steps=1500, batch_size=4), data=data, image_size=SIZE)
    write(folder / "train.json", to_mapping(settings))
    split = {"size": 40, "checked": 40, "labeled_pixels": [0] * 7, "ignored": 0}
    train = {**split, "name": "street/train", "pixels": [750, 50, 50, 50, 50, 50, 0], "images": [40] * 7}
    val = {
        **split,
        "name": "street/val",
        "size": 12,
        "checked": 12,
        "pixels": [1] * 7,
        "images": [12, 12, 12, 12, 3, 0, 12],
    }
    write(folder / "data_check.json", {"data": data_identity(data), "splits": [train, val]})
    return TrainedModel(folder)


def write(path, content):
    path.write_text(json.dumps(content))


def evaluated(run, content, **changes):
    """Write evaluation.json with a row of the network at output stride 16 and one of the file."""
    row = {"output_stride": 16, "scales": [1.0], "flip": False, "miou": 0.5333, "miou_interval": [0.45, 0.61]}
    row |= {"per_class": IOU, "images": 12, "sha256": file_sha256(run.weights_file)}
    row |= {"fit": "stretch", "image_size": [129, 129], "stretched_images": 12}
    file = {**row, "output_stride": None, "miou": 0.53, "sha256": sha256(content)}
    write(run.path / "evaluation.json", {"data": "street/val", "rows": [{**row, **changes}, {**file, **changes}]})


def report_of(content, *checks, **settings):
    return Report(
        file="int8.tflite",
        bytes=len(content),
        sha256=sha256(content),
        input="uint8 [1, 129, 129, 3]",
        output="uint8 [1, 129, 129, 7]",
        operators={},
        float_operators=(),
        checks=checks or (DROP, not_checked(CheckId.MEDIAPIPE, "not installed")),
        milliseconds=4.25,
        settings={"quantization": "int8", **settings},
        origin={
            "output_stride": 16,
            "fit": "letterbox",
            "output": "logits",
            "mask_stride": 1,
            "quantization_aware": False,
            "keep_ranges": False,
            "weights_sha256": "ab12",
            "versions": {"keras": "3.12"},
        },
        compatibility=compatibility(open_tflite(content)),
    )


@pytest.fixture
def content(workshop):
    return workshop.file("int8")


def card(run, content, license="none", **settings):
    config = ExportConfig(run=str(run.path.name), quantization="int8")
    return model_card(report_of(content, **settings), config, run, open_tflite(content), license)


def table(text, first):
    """Return the cells of the row of a Markdown table whose first cell is `first`."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_card_states_the_file(run, content):
    text = card(run, content)
    assert table(text, "bytes") == [f"{len(content):,}"]
    assert table(text, "SHA-256") == [sha256(content)]
    assert table(text, "input") == ["uint8 \\[1, 129, 129, 3\\]: RGB, the bytes of the image, 0..255"]
    (output,) = table(text, "output")
    assert "logits" in output
    assert "real value = " in output
    assert table(text, "mask") == ["full size"]
    assert "other images are letterboxed to 129x129 pixels (`fit=letterbox`)" in text
    assert table(text, "time")[0].startswith("4.2 ms per image, one thread")
    assert "````bash\npython export.py run=mine\n````" in text


def test_scores_with_intervals_come_from_the_evaluation_of_the_same_weights_and_the_same_file(run, content):
    evaluated(run, content)
    text = card(run, content)
    network = table(text, "the network before the conversion")
    assert network[:4] == ["53.33", "45.00 to 61.00", "12", "street/val"]
    assert network[4] == "output stride 16, one scale, float32, images stretched to 129x129"
    file = table(text, "this file")
    assert file[:4] == ["53.00", "45.00 to 61.00", "12", "street/val"]
    assert file[4] == "the .tflite file, images stretched to 129x129"
    assert f"Measured by the export, {SCOPE}: mIoU 53.08 %, 0.25 points below the Keras model (at most 1.5)." in text
    # Class 3: IoU 0.2 and 50 of 1,000 pixels.
    assert table(text, "3") == ["triangle", "20.0", "5.00 %", "12"]
    assert table(text, "5") == ["ring", "not known", "5.00 %", "0"]


@pytest.mark.parametrize("changes", [{"sha256": "0"}, {"flip": True}, {"scales": [1.0, 1.5]}])
def test_an_evaluation_of_other_weights_or_scales_is_not_used(run, content, changes):
    evaluated(run, content, **changes)
    text = card(run, content)
    assert table(text, "the network before the conversion")[:2] == ["not known", "not known"]
    assert table(text, "this file")[0] == "not known"
    assert "The mIoU of the network is not known: python evaluate.py run=mine output_stride=16 measures it" in text


def test_the_scores_of_the_training_have_no_interval(run, content):
    write(run.path / "scores.json", {"16": {"miou": 0.5333, "per_class": IOU, "images": 12}})
    text = card(run, content)
    assert table(text, "the network before the conversion")[:3] == ["53.33", "not known", "12"]
    assert "The mIoU of the network has no interval" in text


def test_the_command_in_the_limits_can_be_copied(run, content):
    report = report_of(content, run="my runs/one")
    text = model_card(report, ExportConfig(run="my runs/one"), run, open_tflite(content), "none")
    assert "python evaluate.py 'run=my runs/one' output_stride=16 measures it" in text


def test_scores_without_a_value_are_not_known(run, content):
    write(run.path / "scores.json", {"16": {"miou": 0.5333}})
    text = card(run, content)
    assert table(text, "the network before the conversion")[:3] == ["53.33", "not known", "not known"]
    assert table(text, "1")[1] == "not known"
    write(run.path / "scores.json", {"16": {"per_class": IOU}})
    text = card(run, content)
    assert table(text, "the network before the conversion")[0] == "not known"
    assert "The mIoU of the network is not known: python evaluate.py run=mine output_stride=16 measures it" in text


def test_limits_name_weak_rare_and_unmeasured_classes(run, content):
    evaluated(run, content)
    text = card(run, content)
    # Half of the mIoU is 26.7; ring has no validation image, cross no training pixel, star three images.
    assert "- Weak classes, with less than half of the mIoU: triangle (20.0), star (0.0)." in text
    assert "- In no validation image that was checked, so not measured: ring." in text
    assert "- Not in the training masks that were checked: cross." in text
    assert "- IoU rests on fewer than 10 validation images: star (3)." in text
    assert "Domain: images like those of data=folder, folder street" in text
    assert "/secret" not in text


def test_the_data_are_those_of_the_run(run, content):
    text = card(run, content)
    assert "- Split street/train: 40 images, 40 of them in the data check." in text
    assert "- Split street/val: 12 images, 12 of them in the data check." in text
    assert (
        "Scale: trained on crops of 97x97 pixels of images at their own size, used on images of 129x129 pixels." in text
    )
    assert "from random weights, 1,500 updates of 4 crops of 97x97 pixels" in text
    # A check of other data says nothing about this training.
    checked = json.loads((run.path / "data_check.json").read_text())
    write(run.path / "data_check.json", {**checked, "data": "data=voc"})
    assert "- Number of images: not known." in card(run, content)


def test_nothing_is_invented_for_an_imported_file(official_models, tmp_path):
    source = official_models / "deeplabv3_mnv2_dm05_pascal_quant.tflite"
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes())
    content = path.read_bytes()
    report = report_of(content, not_checked(CheckId.MIOU_DROP, "no labeled images"))
    config = ExportConfig(run=str(path), out="new/int8.tflite", mask_stride=4)
    text = model_card(report, config, TrainedModel(path), open_tflite(content), "none")
    assert "Data: not known" in text
    assert "Training: not known" in text
    assert "What the conversion costs in mIoU was not measured (no labeled images)." in text
    assert table(text, "15")[0] == "person"
    assert "out=new/int8.tflite mask_stride=4" in text


def test_names_cannot_break_the_card(run, content):
    classes = ("a|b", "<script>", "*c*", "d", "e", "f", "g")
    described = TrainedModel(run.path)
    described.__dict__["description"] = ModelDescription(TINY, classes)
    text = card(described, content)
    assert "| 0 | a\\|b |" in text
    assert "| 1 | \\<script\\> |" in text
    assert "| 2 | \\*c\\* |" in text


def test_the_license_of_an_existing_card_is_kept(run, content, tmp_path):
    config, file = ExportConfig(run="mine"), open_tflite(content)
    path = tmp_path / "int8.tflite"
    written = write_model_card(path, report_of(content), config, run, file)
    assert written == tmp_path / "int8.card.md"
    first = written.read_text()
    assert "## License\n\nNot stated. Fill in" in first
    written.write_text(first.replace(first[first.index("Not stated.") :], "CC BY 4.0,\nby me\n"))
    write_model_card(path, replace(report_of(content), milliseconds=9.0), config, run, file)
    second = written.read_text()
    assert second.endswith("## License\n\nCC BY 4.0,\nby me\n")
    assert "9.0 ms per image" in second


@pytest.mark.parametrize(
    "error", [OSError("disk full"), KeyError("splits"), UnicodeDecodeError("utf-8", b"x", 0, 1, "x")]
)
def test_a_card_that_cannot_be_written_is_a_warning(run, content, tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(card_module, "model_card", fail)
    with pytest.warns(UserWarning, match=r"int8\.card\.md: not written: .*; int8\.tflite and its report are complete"):
        assert (
            write_model_card(tmp_path / "int8.tflite", report_of(content), ExportConfig(run="mine"), run, None) is None
        )
    assert not list(tmp_path.glob("*int8*"))
