"""Settings that follow from the data, the network or the pretrained weights."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from deeplab.cli.settings import compose_settings, config_folder
from deeplab.config import ModelConfig, TrainConfig, TrainingConfig, build, to_mapping
from deeplab.errors import UserError
from deeplab.files import write_json
from deeplab.training.distribution import Workers
from deeplab.training.settings import complete_settings, warn_about_random_weights


def completed(**settings: Any) -> TrainConfig:
    return complete_settings(build(TrainConfig, settings), Workers(tf.distribute.get_strategy()))


def described_run(folder: Path, **network: Any) -> Path:
    """Write what a run folder states about its network of three classes, and an empty weights file."""
    folder.mkdir()
    (folder / "model.weights.h5").touch()
    mapping = to_mapping(build(ModelConfig, {"classes": 3, **network}))
    write_json(folder / "model.json", {"model": mapping, "classes": ["a", "b", "c"], "quantized": False})
    return folder


def devkit(root: Path, *masks: str) -> Path:
    """Write a VOCdevkit with lists of two images, and empty files as masks of VOC and of SBD."""
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", "SegmentationClassAug"):
        (root / "VOC2012" / name).mkdir(parents=True)
    for split, names in (("train", "a\n"), ("val", "b\n")):
        (root / "VOC2012" / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(names)
    for path in (Path("SegmentationClass", "a.png"), *(Path("SegmentationClassAug", name) for name in masks)):
        (root / "VOC2012" / path).touch()
    return root


@pytest.mark.parametrize(
    ("model", "published"),
    [
        # tensorflow/models research/deeplab, train.py: "use 0.00004 for MobileNet-V2 or Xception, 0.0001 for ResNet".
        ({"backbone": "mobilenet_v2"}, 0.00004),
        ({"backbone": "xception65"}, 0.00004),
        ({"backbone": "resnet101_beta"}, 0.0001),
        ({"backbone": "resnet50", "head": "v3"}, 0.0001),
        # "weight decay 0.0005" in sec. 4 of arXiv:1412.7062 and sec. 4.1 of arXiv:1606.00915.
        ({"backbone": "vgg16", "head": "v1", "aspp_rates": [6]}, 0.0005),
        ({"backbone": "resnet101_beta", "head": "v2", "aspp_rates": [3, 6]}, 0.0005),
        ({"backbone": "vgg16", "head": "v3"}, 0.0005),
    ],
)
def test_weight_decay_is_the_published_one_of_the_network_and_is_shown(model, published, capsys):
    assert completed(model=model).training.weight_decay == published
    first, second = capsys.readouterr().out.splitlines()
    head = model.get("head", "v3plus")
    assert first == f"runs/demo: {model['backbone']}, head {head}, 30,000 updates of 16 crops of 513x513 pixels"
    assert second == f"weight decay {published:g}, the published value of this network (training.weight_decay)"


def test_weight_decay_of_the_user_wins(capsys):
    config = completed(model={"backbone": "resnet50"}, training={"weight_decay": 0.0})
    assert config.training.weight_decay == 0.0
    assert "weight decay" not in capsys.readouterr().out


def test_network_is_that_of_the_official_file(official_models, capsys):
    """g3doc/quantize.md of tensorflow/models: depth multiplier 0.5; MobileNetV2 has neither ASPP nor a decoder."""
    path = official_models / "deeplabv3_mnv2_dm05_pascal_quant.tflite"
    config = completed(pretrained=str(path))
    expected = ModelConfig(backbone="mobilenet_v2", depth_multiplier=0.5, head="v3", aspp_rates=())
    assert config.model == expected
    assert f"network of {path}: mobilenet_v2 with depth multiplier 0.5, head v3" in capsys.readouterr().out
    assert completed(pretrained=str(path), model={"head": "v3plus"}).model == dataclasses.replace(
        expected, head="v3plus"
    )


def test_network_is_that_of_the_pretrained_run_but_for_classes_and_given_keys(tmp_path, capsys):
    run = described_run(tmp_path / "run", backbone="resnet50", head="v3", aspp_channels=64)
    expected = ModelConfig(backbone="resnet50", head="v3", aspp_channels=64)
    assert completed(pretrained=str(run)).model == expected
    assert completed(pretrained=str(run / "model.weights.h5")).model == expected
    given = completed(pretrained=str(run), model={"aspp_rates": [6], "classes": 5}).model
    assert given == dataclasses.replace(expected, aspp_rates=(6,), classes=5)
    assert capsys.readouterr().out.count(f"network of {run}: resnet50, head v3") == 2


@pytest.mark.parametrize("model", [{"backbone": "mobilenet_v2"}, ModelConfig()])
def test_whole_network_of_the_user_wins_over_that_of_the_pretrained_run(model, tmp_path):
    run = described_run(tmp_path / "run", backbone="resnet50", head="v3", aspp_channels=64)
    config = TrainConfig(pretrained=str(run), model=model)
    assert complete_settings(config, Workers(tf.distribute.get_strategy())).model == ModelConfig()


def test_other_workers_receive_the_network_from_the_chief(tmp_path, monkeypatch):
    """They have no pretrained weights on their disks."""
    run = described_run(tmp_path / "run", backbone="resnet50", head="v3", aspp_channels=64)
    sent: list[np.ndarray] = []

    def send(_: Workers, value: Any) -> np.ndarray:
        sent.append(np.asarray(value, np.float64))
        return sent[-1]

    def receive(_: Workers, value: Any) -> np.ndarray:
        assert np.shape(value) == sent[0].shape
        return sent.pop(0)

    models = []
    for index, (exchange, path) in enumerate(((send, run), (receive, tmp_path / "absent"))):
        monkeypatch.setattr("deeplab.training.settings.broadcast_value", exchange)
        workers = Workers(tf.distribute.get_strategy(), index, 2)
        models.append(complete_settings(TrainConfig(pretrained=str(path), model={"classes": 5}), workers).model)
    assert models == [ModelConfig(backbone="resnet50", head="v3", aspp_channels=64, classes=5)] * 2


@pytest.mark.parametrize("pretrained", [None, "imagenet", "/no/such/file.h5"])
def test_network_is_the_default_if_nothing_describes_it(pretrained, tmp_path):
    config = completed(run=str(tmp_path / "run"), pretrained=pretrained, model={"head": "v3"})
    assert config.model == ModelConfig(head="v3")


def test_resumed_run_does_not_need_its_pretrained_weights(tmp_path):
    started = TrainConfig(run=str(tmp_path / "new"), pretrained=str(tmp_path / "gone"), model=ModelConfig(head="v3"))
    (tmp_path / "new").mkdir()
    write_json(tmp_path / "new" / "train.json", to_mapping(started))
    assert completed(run=started.run, pretrained=started.pretrained).model == ModelConfig(head="v3")


def test_wrong_key_of_the_network_is_named():
    with pytest.raises(UserError, match=r"model\.hed: unknown key; did you mean 'model\.head'\?"):
        build(TrainConfig, {"model": {"hed": "v3"}})


@pytest.mark.parametrize(
    ("masks", "settings", "split"),
    [
        ((), {}, "train"),
        (("c.png",), {}, "train_aug"),
        (("c.mat",), {}, "train_aug"),
        (("c.png",), {"train_split": "train"}, "train"),
    ],
)
def test_voc_trains_on_train_aug_if_the_masks_of_sbd_are_found(masks, settings, split, tmp_path):
    root = devkit(tmp_path, *masks)
    data = {"source": "voc", "root": str(root), "train_split": "auto", **settings}
    assert completed(data=data).data.train_split == split


def test_split_and_number_of_images_are_shown(voc_root, capsys):
    config = completed(data={"source": "voc", "root": str(voc_root), "train_split": "auto"})
    names = voc_root / "VOC2012" / "ImageSets" / "Segmentation" / f"{config.data.train_split}.txt"
    count = len(names.read_text().split())
    assert f"data.train_split={config.data.train_split}: {count} images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "model", "remedy"),
    [
        ("voc", {"backbone": "resnet50"}, "add pretrained=imagenet"),
        ("cityscapes", {"backbone": "mobilenet_v2"}, "add pretrained=imagenet"),
        ("voc", {"backbone": "xception65"}, "add pretrained=FILE with official weights of xception65"),
        ("voc", {"backbone": "mobilenet_v3_large", "reduced_tail": True}, "add pretrained=FILE with official weights"),
        ("shapes", {}, None),
        ("folder", {}, None),
    ],
)
def test_random_weights_on_a_set_with_published_figures_show_what_to_add(source, model, remedy):
    config = build(TrainConfig, {"data": {"source": source, "root": "x"}, "model": model})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_about_random_weights(config)
    assert [remedy in str(w.message) for w in caught] == [True] if remedy else not caught


def from_command_line(*arguments: str) -> TrainConfig:
    settings = compose_settings("train", arguments, config_folder())
    assert settings is not None
    return build(TrainConfig, settings)


def test_pretrained_weights_replace_the_model_of_the_demo_unless_a_model_is_given():
    assert from_command_line().network.depth_multiplier == 0.5
    assert from_command_line("pretrained=x.tflite").model == {}
    assert from_command_line("pretrained=x.tflite", "model.head=v3").model == {"head": "v3"}
    assert from_command_line("pretrained=x.tflite", "model=shapes_demo").network.depth_multiplier == 0.5
    assert from_command_line("experiment=voc_finetune_v3plus", "pretrained=x.tflite").model == {"head": "v3plus"}


def test_experiments_of_v1_and_v2_have_the_recipes_of_their_papers():
    """Sec. 4 of arXiv:1412.7062: 20 images, times 0.1 every 2000; sec. 4.1.1 of arXiv:1606.00915: poly, 10 images."""
    first, second = (from_command_line(f"experiment=voc_deeplabv{n}", "data=voc").training for n in (1, 2))
    assert (first.batch_size, first.learning_rate, first.momentum) == (20, 0.001, 0.9)
    assert (first.learning_policy, first.decay_steps, first.decay_factor) == ("step", 2000, 0.1)
    assert (second.batch_size, second.learning_rate, second.momentum) == (10, 0.001, 0.9)
    assert (second.learning_policy, second.power, second.steps) == ("poly", 0.9, 20_000)
    for recipe in (first, second):
        assert (recipe.crop_size, recipe.output_stride) == (321, 8)
        assert recipe.layer_multipliers == {"logits": 10}
        assert recipe.bias_multiplier == 2


def test_two_stages_start_from_imagenet_weights_and_name_their_splits():
    config = from_command_line("experiment=voc_two_stage", "data=voc")
    assert config.pretrained == "imagenet"
    assert config.data.train_split == "trainval"
    assert config.first_stage is not None
    assert config.first_stage["data"]["train_split"] == "train_aug"
    assert from_command_line("data=voc").data.train_split == "auto"
    assert TrainingConfig().weight_decay is None


def test_the_crop_has_the_size_of_resized_images_unless_it_is_given():
    data = {"source": "folder", "root": "x", "resize": "letterbox", "image_size": [129, 257]}
    assert completed(data=data).training.crop == (129, 257)
    assert completed(data=data | {"image_size": 257}).training.crop_size == 257
    assert completed(data=data, training={"crop_size": 97}).training.crop_size == 97
    assert completed(data={"source": "folder", "root": "x"}).training.crop_size == 513
