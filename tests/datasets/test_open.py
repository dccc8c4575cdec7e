from pathlib import Path

import pytest

from deeplab.config import DataConfig
from deeplab.datasets.open import open_source
from deeplab.errors import UserError
from tests.datasets.test_voc import make_devkit


def test_the_validation_split_has_a_size_and_the_training_split_all():
    assert open_source(DataConfig(), "train").size is None
    assert open_source(DataConfig(), "val").size == 64
    assert open_source(DataConfig(val_size=5), "val").size == 5


def test_a_devkit_is_opened_with_its_own_names(tmp_path: Path):
    make_devkit(tmp_path, ("a", "b", "c"))
    config = DataConfig(source="voc", root=str(tmp_path), val_split="train", val_size=2)
    source = open_source(DataConfig(source="voc", root=str(tmp_path)), "train")
    assert (source.size, source.classes[15]) == (3, "person")
    assert open_source(config, "train").size == 3  # a split that is trained on is not cut
    with pytest.raises(UserError, match=r"data.root: a folder is needed"):
        open_source(DataConfig(source="voc"), "train")


def test_names_of_your_own_fit_the_source():
    names = ("nothing", "a", "b", "c", "d", "e", "f")
    assert open_source(DataConfig(classes=names), "train").classes == names
    with pytest.raises(UserError, match=r"data.classes: 2 names for 7 classes"):
        open_source(DataConfig(classes=("a", "b")), "train")
