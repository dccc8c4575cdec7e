import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.config import DataConfig
from deeplab.data_check.check import check_before_training
from deeplab.datasets.cityscapes import CLASSES, LABEL_IDS, LABELS
from deeplab.datasets.open import open_source
from deeplab.datasets.source import Source
from deeplab.errors import UserError

SIZE = (12, 16)


def make_cityscapes(root: Path, ids: dict[str, np.ndarray]) -> DataConfig:
    """Write images and *_labelIds.png of (split/city/name) in the original layout; the ids are those of the labels."""
    for i, (name, values) in enumerate(ids.items()):
        image, label = root / f"leftImg8bit/{name}_leftImg8bit.png", root / f"gtFine/{name}_gtFine_labelIds.png"
        for path in (image, label):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*values.shape, 3), 40 * i, np.uint8)).save(image)
        Image.fromarray(values.astype(np.uint8)).save(label)
        # Files of other kinds lie next to them in the original.
        Image.fromarray(values.astype(np.uint16) * 1000).save(str(label).replace("labelIds", "instanceIds"))
        Image.new("RGBA", values.shape[::-1]).save(str(label).replace("labelIds", "color"))
    return DataConfig(source="cityscapes", root=str(root))


def street(left: int, right: int) -> np.ndarray:
    ids = np.full(SIZE, left)
    ids[:, 8:] = right
    return ids


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    """Two training images of two cities and one for validation: 7 is road, 26 car, 24 person, 0 unlabeled."""
    ids = {
        "train/aachen/aachen_000000_000019": street(7, 26),
        "train/zurich/zurich_000001_000019": street(24, 0),
        "val/munster/munster_000000_000019": street(7, 24),
    }
    return make_cityscapes(tmp_path, ids)


def polygons(source: Source, index: int) -> Path:
    """Replace the label file of an example by an empty file of polygons; return its path."""
    png = source.files[2 * index + 1]
    png.unlink()
    return png.with_name(png.name.replace("labelIds.png", "polygons.json"))


def write_polygons(path: Path, objects: list[dict]) -> None:
    path.write_text(json.dumps({"imgHeight": SIZE[0], "imgWidth": SIZE[1], "objects": objects}))


def rectangle(label: str, left: int, top: int, right: int, bottom: int, **more: object) -> dict:
    corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return {"label": label, "polygon": corners, **more}


def test_label_ids_become_train_ids(config: DataConfig):
    source = open_source(config, "train")
    assert (source.size, len(source.classes)) == (2, 19)
    assert source.names[0] == "aachen_000000_000019_leftImg8bit"
    # The published train ids: road 0, car 13, person 11; unlabeled is ignored.
    assert source.load(0).label[0, [0, 15]].tolist() == [0, 13]
    assert source.load(1).label[0, [0, 15]].tolist() == [11, 255]


def test_label_ids_come_first_where_all_kinds_of_files_exist(config: DataConfig):
    label = open_source(config, "train").files[1]
    write_polygons(Path(str(label).replace("labelIds.png", "polygons.json")), [rectangle("sky", 0, 0, 15, 11)])
    train_ids = str(label).replace("labelIds", "labelTrainIds")
    Image.fromarray(np.full(SIZE, 5, np.uint8)).save(train_ids)
    assert open_source(config, "train").load(0).label[0, [0, 15]].tolist() == [0, 13]
    label.unlink()
    assert open_source(config, "train").load(0).label[0, [0, 15]].tolist() == [5, 5]


def test_coarse_annotations_have_their_own_folder_and_endings(config: DataConfig, tmp_path: Path):
    for path in list((tmp_path / "gtFine").rglob("*labelIds.png")):
        coarse = Path(str(path).replace("gtFine", "gtCoarse"))
        coarse.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(street(7, 0).astype(np.uint8)).save(coarse)
    coarse = DataConfig(source="cityscapes", root=str(tmp_path), name="gtCoarse")
    assert open_source(coarse, "train").load(0).label[0, [0, 15]].tolist() == [0, 255]
    assert open_source(config, "train").load(0).label[0, [0, 15]].tolist() == [0, 13]


def test_the_table_of_ids_is_the_published_one():
    """The train ids of labels.py in cityscapesScripts, by label id 0..33."""
    published = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    published += [255, 255, 16, 17, 18]
    assert LABEL_IDS[:34].tolist() == published
    assert (LABELS[7], LABELS[33], CLASSES[16]) == ("road", "bicycle", "train")


def test_train_ids_are_read_if_there_are_no_label_ids(config: DataConfig):
    path = open_source(config, "train").files[1]
    path.unlink()
    ids = np.full(SIZE, 255, np.uint8)
    ids[:, :4] = 18
    train_ids = path.with_name(path.name.replace("labelIds", "labelTrainIds"))
    Image.fromarray(ids).save(train_ids)
    assert open_source(config, "train").load(0).label[0, [0, 5]].tolist() == [18, 255]
    Image.fromarray(ids + np.uint8(1)).save(train_ids)
    with pytest.raises(UserError, match=r"labelTrainIds.png: expected labels 0\.\.18 and 255 \(ignore\), got 19"):
        open_source(config, "train").load(0)


def test_polygons_are_drawn_in_order_where_there_is_no_label_image(config: DataConfig):
    path = polygons(open_source(config, "train"), 0)
    write_polygons(
        path,
        [
            rectangle("road", 0, 0, 15, 9),
            rectangle("cargroup", 4, 2, 9, 6),
            rectangle("license plate", 5, 3, 6, 4),
            rectangle("static", 12, 0, 13, 11),
            rectangle("sky", 0, 0, 15, 11, deleted=1),
        ],
    )
    expected = np.zeros(SIZE, np.uint8)
    expected[2:7, 4:10] = 13  # the later polygon covers the earlier one; its border belongs to it
    expected[:, 12:14] = 255  # a label that is not evaluated
    expected[10:] = 255  # no polygon
    np.testing.assert_array_equal(open_source(config, "train").load(0).label, expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"imgHeight": 12, "imgWidth": 16, "objects": [rectangle("boat", 0, 0, 3, 3)]}, "unknown label 'boat'"),
        ({"imgHeight": 12, "imgWidth": 16, "objects": [{"label": "car", "polygon": [[1]]}]}, "is not a file of polyg"),
        ({"imgHeight": 12, "imgWidth": 16}, "is not a file of polygons .KeyError: 'objects'."),
        ({"imgHeight": 12, "imgWidth": 10, "objects": []}, "expected 16x12 pixels, .* got 10x12"),
    ],
)
def test_wrong_polygons_are_reported_with_their_file(config: DataConfig, content: dict, message: str):
    path = polygons(open_source(config, "train"), 0)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"aachen_000000_000019_gtFine_polygons.json: {message}"):
        open_source(config, "train").load(0)


def test_wrong_label_files_are_reported(config: DataConfig):
    source = open_source(config, "train")
    label = source.files[1]
    Image.fromarray(street(7, 34).astype(np.uint8)).save(label)
    with pytest.raises(UserError, match=r"aachen.*labelIds.png: expected mask values 0\.\.33, got 34"):
        source.load(0)
    Image.new("RGB", SIZE[::-1]).save(label)
    with pytest.raises(UserError, match=r"aachen.*labelIds.png: expected one channel of class ids, got 3 channels"):
        source.load(0)
    label.unlink()
    with pytest.raises(UserError, match=r"gtFine/train: no mask for 1 of 2 images of split train: aachen/aachen_0"):
        open_source(config, "train")


def test_missing_folders_and_unexpected_files_are_reported(config: DataConfig, tmp_path: Path):
    with pytest.raises(UserError, match=r"leftImg8bit/test: no such folder \(a split\); .* contains train, val"):
        open_source(config, "test")
    with pytest.raises(UserError, match=r"data.name=fine: unknown annotations; use gtFine or gtCoarse"):
        open_source(DataConfig(source="cityscapes", root=str(tmp_path), name="fine"), "train")
    (tmp_path / "leftImg8bit/train/aachen/copy.jpg").write_bytes(b"1")
    with pytest.raises(UserError, match=r"leftImg8bit/train: 1 unexpected files: aachen/copy.jpg"):
        open_source(config, "train")


def test_the_data_check_accepts_the_layout(config: DataConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    report = check_before_training(config, tmp_path / "run", full=True)
    assert report.errors == ()
    # Of 2 * 192 pixels of the training split, a quarter each is road, car, person and unlabeled.
    train = report.splits[0]
    assert (train.pixels[0], train.pixels[11], train.pixels[13], train.ignored) == (96, 96, 96, 96)
    assert "cityscapes/train: 2 images" in capsys.readouterr().out
