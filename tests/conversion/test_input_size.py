"""The default input size of an exported file, from the images of the data check."""

import warnings
from dataclasses import replace

import pytest

from deeplab.compatibility.targets import with_target
from deeplab.config import DataConfig, ExportConfig, ModelConfig, TrainConfig, TrainingConfig, to_mapping
from deeplab.config.description import ModelDescription, write_description
from deeplab.conversion import input_size
from deeplab.conversion.input_size import file_input_of
from deeplab.data_check.check import check_before_training, data_identity
from deeplab.files import write_json
from deeplab.run_folder import open_model
from tests.datasets.test_folder import make_folder

DATA = DataConfig(source="folder", root="scenes")


@pytest.fixture
def make_run(tmp_path):
    """Write a run folder whose validation images have the given median and largest (height, width)."""

    def make(median, largest, data=DATA, checked=DATA):
        description = ModelDescription(ModelConfig(classes=2), ("a", "b"))
        if data.resize != "none":
            description = replace(description, fit=data.resize, image_size=(data.image_size, data.image_size))
        write_description(tmp_path / "model.json", description, "0" * 64)
        settings = TrainConfig(data=data, training=TrainingConfig(crop_size=97))
        write_json(tmp_path / "train.json", to_mapping(settings))
        sizes = {"height_width": median, "max_height_width": largest}
        train = {"height_width": (9, 9), "max_height_width": (9, 9)}
        write_json(tmp_path / "data_check.json", {"data": data_identity(checked), "splits": [train, sizes]})
        return open_model(tmp_path)

    return make


def size_of(run, **settings):
    """Return the input size, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        size, _ = file_input_of(with_target(ExportConfig(str(run.path), **settings)), run)
    return size, [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("median", "largest", "expected"),
    [
        ((160, 240), (160, 240), (161, 241)),  # 4 * 40 + 1, 4 * 60 + 1
        ((359, 482), (359, 482), (361, 485)),
        ((375, 500), (500, 500), (501, 501)),  # upright and wide images, as in VOC: 1.33 times the pixels
        ((20, 40), (20, 40), (33, 41)),
    ],
)
def test_images_of_similar_size_are_taken_as_they_are(make_run, median, largest, expected):
    assert size_of(make_run(median, largest)) == (expected, [])


def test_the_sizes_are_those_that_the_data_check_writes(make_run, tmp_path, capsys):
    data = make_folder(tmp_path / "set")
    run = make_run((160, 240), (160, 240), data, data)
    check_before_training(data, run.folder)
    assert size_of(run) == ((33, 33), [])  # Images of 32x24 pixels.


@pytest.mark.parametrize("sizes", [(160, 240), (0, 0), (3000, 4000)])
def test_the_data_check_is_read_once(make_run, sizes, monkeypatch):
    reads = []
    stored = input_size.stored_splits
    monkeypatch.setattr(input_size, "stored_splits", lambda *args: reads.append(args) or stored(*args))
    size_of(make_run(sizes, sizes))
    assert len(reads) == 1


def test_the_sides_fit_the_mask_stride(make_run):
    # 16 * 10 + 1 and 16 * 15 + 1; 32 * 5 + 1 and 32 * 8 + 1
    assert size_of(make_run((160, 240), (160, 240)), mask_stride=16)[0] == (161, 241)
    assert size_of(make_run((160, 240), (160, 240)), mask_stride=32)[0] == (161, 257)


def test_one_much_larger_image_does_not_enlarge_the_file(make_run):
    size, warned = size_of(make_run((160, 240), (1000, 1000)))
    assert size == (161, 241)
    assert len(warned) == 1
    assert "1000x1000 pixels are stretched" in warned[0]
    assert "image_size=[1001,1001] takes them as they are" in warned[0]


def test_photos_that_plans_scale_down_do_not_set_the_size(make_run):
    size, warned = size_of(make_run((3000, 4000), (3000, 4000)))
    assert size == (97, 97)
    assert "4000x3000 pixels are stretched" in warned[0]
    assert "data.resize=stretch data.image_size=[97,97]" in warned[0]


def test_a_size_that_the_target_limits_keeps_the_aspect(make_run):
    # 513 / 640 * 480 = 384.75
    size, warned = size_of(make_run((480, 640), (480, 640)), target="edgetpu")
    assert size == (385, 513)
    assert "data.resize=stretch" in warned[0]


def test_a_size_that_the_target_requires_is_said_to_stretch(make_run):
    size, warned = size_of(make_run((360, 480), (360, 480)), target="interpreter_sample")
    assert size == (257, 257)
    assert "480x360 pixels are stretched" in warned[0]
    assert "train with data.resize=stretch data.image_size=[257,257] to avoid it" in warned[0]
    assert size_of(make_run((160, 240), (160, 240)), target="interpreter_sample") == ((257, 257), [])


def test_a_size_given_by_hand_is_taken_without_a_word(make_run):
    assert size_of(make_run((360, 480), (360, 480)), image_size=257) == ((257, 257), [])


def test_the_size_of_the_evaluation_comes_first(make_run):
    assert size_of(make_run((375, 500), (500, 500), replace(DATA, eval_size=641))) == ((641, 641), [])
    resized = replace(DATA, resize="letterbox", image_size=353)
    assert size_of(make_run((3000, 4000), (3000, 4000), resized)) == ((353, 353), [])


def test_a_data_check_of_other_data_does_not_count(make_run):
    size, (warning,) = size_of(make_run((160, 240), (160, 240), checked=replace(DATA, root="others")))
    assert size == (97, 97)
    assert "the crop size of the training" in warning


def test_the_crop_size_of_a_run_that_states_no_other_is_said(make_run):
    run = make_run((0, 0), (0, 0))
    size, (warning,) = size_of(run)
    assert size == (97, 97)
    assert warning.startswith("image_size=[97,97]: the crop size of the training, because the run states neither")
    assert size_of(run, image_size=65) == ((65, 65), [])
