"""The batches of a training."""

import itertools

import numpy as np
from PIL import Image

from deeplab.config import TrainConfig, build
from deeplab.datasets.open import open_source, open_training_source
from deeplab.datasets.pipeline import iterate
from deeplab.training import training_data
from tests.training.test_initial_weights import settings


def test_training_images_are_padded_with_the_mean_of_the_backbone(tmp_path):
    """Images of 160 pixels at half their size fill 80 of 97 pixels. The mean is that of keras.applications."""
    half = {"crop_size": 97, "augment": {"min_scale": 0.5, "max_scale": 0.5}}
    config = settings(tmp_path, {"backbone": "vgg16", "head": "v1", "aspp_rates": [6]}, **half)
    (images,) = training_data.first_images(config, open_source(config.data, "train"), 1)
    np.testing.assert_array_equal(images[:, -1], np.broadcast_to(np.float32([123.68, 116.779, 103.939]), (2, 97, 3)))


def test_labeled_batches_contain_no_images_without_masks(tmp_path):
    """Of 2 images with masks and 30 without, the first batches of all would contain some without."""
    for folder, count in (("set/images", 2), ("set/masks", 2), ("more", 30)):
        (tmp_path / folder).mkdir(parents=True)
        for index in range(count):
            size = (40, 40) if folder == "set/masks" else (40, 40, 3)
            Image.fromarray(np.full(size, index % 2, np.uint8)).save(tmp_path / folder / f"{index}.png")
    (tmp_path / "set/classes.txt").write_text("a\nb\n")
    root, more = str(tmp_path / "set"), str(tmp_path / "more")
    data = {"source": "folder", "root": root, "unlabelled": more, "train_split": "all", "val_split": "all"}
    scale = {"min_scale": 1.0, "max_scale": 1.0}
    training = {"batch_size": 2, "crop_size": 33, "augment": scale, "distillation": {"teacher": "teacher"}}
    config = build(TrainConfig, {"data": data, "training": training})
    source = open_training_source(config.data)
    made = {"labeled": training_data.labeled_batches(config, source), "all": training_data.make_batches(config, source)}
    ids = {
        name: {int(i) for _, label in itertools.islice(iterate(batches), 8) for i in np.unique(label)}
        for name, batches in made.items()
    }
    assert ids["labeled"] == {0, 1}
    assert 255 in ids["all"]
