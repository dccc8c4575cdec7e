from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.config import DataConfig
from deeplab.data_check.check import check_before_training
from deeplab.datasets.ade20k import read_classes
from deeplab.datasets.open import open_source
from deeplab.errors import UserError

FIRST = ("wall", "building, edifice", "sky", "floor, flooring", "tree")


def make_ade20k(root: Path) -> DataConfig:
    """Write two training images and one for validation in the original layout; mask value i + 1 is class i."""
    for folder, names in (("training", ("ADE_train_00000001", "ADE_train_00000002")), ("validation", ("ADE_val_1",))):
        for part in ("images", "annotations"):
            (root / part / folder).mkdir(parents=True)
        for i, name in enumerate(names):
            Image.new("RGB", (32, 20), (99 * i, 0, len(folder))).save(root / f"images/{folder}/{name}.jpg")
            ids = np.full((20, 32), 1 + 2 * i, np.uint8)
            ids[:, :8], ids[:, 8:16] = 0, 150
            Image.fromarray(ids).save(root / f"annotations/{folder}/{name}.png")
    names = [*FIRST, *(f"thing {i}, other name" for i in range(6, 151))]
    lines = [f"{i + 1}\t0.1\t11\t5\t{name}" for i, name in enumerate(names)]
    (root / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tName", *lines]) + "\n")
    return DataConfig(source="ade20k", root=str(root))


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    return make_ade20k(tmp_path / "ADEChallengeData2016")


def test_ids_are_one_less_and_zero_is_ignored(config: DataConfig, tmp_path: Path):
    source = open_source(config, "train")
    assert (source.size, len(source.classes), source.classes[:3]) == (2, 150, ("wall", "building", "sky"))
    assert [source.load(i).label[0, [0, 8, 31]].tolist() for i in range(2)] == [[255, 149, 0], [255, 149, 2]]
    assert open_source(config, "val").names == ("ADE_val_1",)
    above = DataConfig(source="ade20k", root=str(tmp_path))
    assert open_source(above, "train").size == 2


def test_the_mask_shows_the_stored_pixels(config: DataConfig):
    """An EXIF orientation is not applied, as in the tools of the benchmark."""
    source = open_source(config, "train")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (32, 20)).save(source.files[0], exif=exif)
    assert source.load(0).image.shape == (20, 32, 3)


def test_wrong_files_are_reported(config: DataConfig):
    source = open_source(config, "train")
    Image.fromarray(np.full((20, 32), 151, np.uint8)).save(source.files[1])
    with pytest.raises(UserError, match=r"ADE_train_00000001.png: expected mask values 0\.\.150, got 151"):
        source.load(0)
    Image.new("RGB", (32, 20)).save(source.files[1])
    with pytest.raises(UserError, match=r"ADE_train_00000001.png: expected one channel of class ids, got 3 channels"):
        source.load(0)
    source.files[1].unlink()
    with pytest.raises(UserError, match=r"annotations/training: no mask for 1 of 2 images of split train: ADE_train"):
        open_source(config, "train")


def test_a_wrong_list_of_classes_is_refused(config: DataConfig):
    path = Path(config.root or "") / "objectInfo150.txt"
    text = path.read_text()
    path.write_text(text.rpartition("150\t")[0])
    with pytest.raises(UserError, match=r"objectInfo150.txt: expected the columns Idx, ..., Name and a line for each"):
        open_source(config, "train")
    path.write_text(text.replace("Name", "Label", 1))
    with pytest.raises(UserError, match=r"objectInfo150.txt: expected the columns Idx, ..., Name"):
        open_source(config, "train")
    path.write_text(text.replace("sky", "wall, partition"))
    assert read_classes(path)[:3] == ("wall", "building", "wall, partition")
    path.unlink()
    with pytest.raises(UserError, match=r"objectInfo150.txt: no such list file; .* contains annotations, images"):
        open_source(config, "train")


def test_the_data_check_accepts_the_layout(config: DataConfig, tmp_path: Path):
    report = check_before_training(config, tmp_path / "run", full=True)
    assert report.errors == ()
    # Each mask has 20 rows: 8 columns ignored, 8 of the last class, 16 of the class of this mask.
    assert (report.splits[0].pixels[149], report.splits[0].pixels[2], report.splits[0].ignored) == (320, 320, 320)
