import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deeplab.config import DataConfig
from deeplab.data_check.check import check_before_training
from deeplab.datasets.open import open_source
from deeplab.errors import UserError

# The category ids of COCO by class of VOC (CAT_LIST of torchvision, references/segmentation/coco_utils.py).
VOC_IDS = (0, 5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72)
NAMES = (
    *("airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog"),
    *("horse", "motorcycle", "person", "potted plant", "sheep", "couch", "train", "tv"),
)
CATEGORIES = [
    *({"id": number, "name": name} for number, name in zip(VOC_IDS[1:], NAMES, strict=True)),
    {"id": 13, "name": "stop sign"},
    {"id": 184, "name": "tree-merged"},
]
HEIGHT, WIDTH = 40, 60


def square(left: int, top: int, right: int, bottom: int) -> list[float]:
    return [left, top, right, top, right, bottom, left, bottom]


def polygon(number: int, image: int, category: int, *corners: list[float], area: int = 1200) -> dict[str, Any]:
    common = {"id": number, "image_id": image, "category_id": category, "area": area, "iscrowd": 0}
    return {**common, "segmentation": list(corners)}


def crowd(number: int, image: int, category: int, columns: tuple[int, int]) -> dict[str, Any]:
    """An uncompressed run-length encoding, by columns: the columns from the first to before the second."""
    first, end = (column * HEIGHT for column in columns)
    runs = [first, end - first, WIDTH * HEIGHT - end]
    common = {"id": number, "image_id": image, "category_id": category, "area": end - first, "iscrowd": 1}
    return {**common, "segmentation": {"counts": runs, "size": [HEIGHT, WIDTH]}}


INSTANCES = [
    # Image 1: a person (class 15), a dog (12) that overlaps it, a stop sign, a crowd of persons and one of trees.
    polygon(101, 1, 1, square(0, 0, 40, 30), area=1200),
    polygon(102, 1, 18, square(30, 0, 50, 10), square(0, 32, 10, 40)),
    polygon(103, 1, 13, square(0, 0, 20, 20)),
    crowd(104, 1, 1, (56, 60)),
    crowd(105, 1, 13, (52, 56)),
    # Image 2 has 1000 pixels of a tv; image 3 has 5,000 pixels of a crowd only; image 4 has no object.
    polygon(106, 2, 72, square(0, 0, 40, 25), area=1000),
    {**crowd(107, 3, 1, (0, 50)), "area": 5000},
    polygon(108, 5, 7, square(10, 10, 50, 40), area=1200),
]


def make_coco(root: Path, instances: list[dict] = INSTANCES) -> DataConfig:
    """Write train2017 and val2017 of five images each, and their instance annotations, in the original layout."""
    (root / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        (root / split).mkdir()
        images = [
            {"id": i, "file_name": f"{i:012d}.jpg", "height": HEIGHT, "width": WIDTH, "license": 1} for i in range(1, 6)
        ]
        for image in images:
            color = (50 * image["id"], 0, 255 * (split == "val2017"))
            Image.new("RGB", (WIDTH, HEIGHT), color).save(root / split / image["file_name"])
        content = {"info": {}, "images": images, "annotations": instances, "categories": CATEGORIES}
        (root / f"annotations/instances_{split}.json").write_text(json.dumps(content))
    return DataConfig(source="coco_voc", root=str(root))


def change(config: DataConfig, kind: str, edit: Any, split: str = "train") -> None:
    """Change the annotation file of a split; its length changes too, so that it is read again."""
    path = Path(config.root or "") / f"annotations/{kind}_{split}2017.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content) + " ")


def test_instances_are_drawn_with_the_classes_of_voc(tmp_path: Path):
    source = open_source(make_coco(tmp_path), "train")
    assert source.classes[15] == "person"
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:30, :40] = 15
    expected[:10, 30:50] = 12
    expected[32:, :10] = 12
    expected[:10, 30:40] = 255  # pixels of two instances
    expected[:, 56:] = 255  # a crowd of persons; the crowd of stop signs is background
    np.testing.assert_array_equal(source.load(0).label, expected)


def test_every_category_becomes_its_class(tmp_path: Path):
    instances = [polygon(i, 1, VOC_IDS[i], square(2 * i, 0, 2 * i + 2, HEIGHT)) for i in range(1, 21)]
    label = open_source(make_coco(tmp_path, instances), "train").load(0).label
    assert label[5, 2:42:2].tolist() == list(range(1, 21))


def test_training_images_need_more_than_1000_pixels_of_the_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = make_coco(tmp_path)
    assert open_source(config, "train").names == ("000000000001", "000000000005")
    assert "2 of 5 images have more than 1000 pixels of the 20 classes" in capsys.readouterr().out
    assert open_source(config, "val").size == open_source(config, "train2017").size == 5
    open_source(config, "train")
    assert "Reading" not in capsys.readouterr().out.partition("val2017.json")[2]


def test_images_may_lie_below_images_and_keep_their_stored_orientation(tmp_path: Path):
    config = make_coco(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "train2017").rename(tmp_path / "images/train2017")
    source = open_source(config, "train")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(source.files[0], exif=exif)
    assert source.load(0).image.shape == (HEIGHT, WIDTH, 3)


def test_a_compressed_run_length_encoding_is_decoded(tmp_path: Path):
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    config = make_coco(tmp_path)

    def compress(content: dict) -> None:
        shape = content["annotations"][3]["segmentation"]
        shape["counts"] = coco.frPyObjects(dict(shape), *shape["size"])["counts"].decode()

    expected = open_source(config, "train").load(0).label
    change(config, "instances", compress)
    np.testing.assert_array_equal(open_source(config, "train").load(0).label, expected)


def make_panoptic(config: DataConfig) -> np.ndarray:
    """Add panoptic annotations: id 7 a cat, 300 a tree, 70000 a crowd of persons, 0 nothing; return the ids."""
    root = Path(config.root or "")
    ids = np.zeros((HEIGHT, WIDTH), np.uint32)
    ids[:, 10:40], ids[:, 40:50], ids[:20, :10] = 7, 300, 70000
    for split in ("train2017", "val2017"):
        folder = root / f"annotations/panoptic_{split}"
        folder.mkdir()
        annotations = []
        for i in range(1, 6):
            code = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
            Image.fromarray(code).save(folder / f"{i:012d}.png")
            segments = [
                {"id": 7, "category_id": 17, "iscrowd": 0, "area": 1200},
                {"id": 300, "category_id": 184, "iscrowd": 0, "area": 400},
                {"id": 70000, "category_id": 1, "iscrowd": 1, "area": 200},
            ]
            annotations.append({"image_id": i, "file_name": f"{i:012d}.png", "segments_info": segments})
        content = json.loads((root / f"annotations/instances_{split}.json").read_text())
        content["annotations"] = annotations
        (root / f"annotations/panoptic_{split}.json").write_text(json.dumps(content))
    return ids


def test_panoptic_colors_are_decoded(tmp_path: Path):
    config = make_coco(tmp_path)
    ids = make_panoptic(config)
    source = open_source(DataConfig(source="coco_voc", root=config.root, name="panoptic"), "train")
    assert source.size == 5
    label = source.load(0).label
    for value, class_id in ((7, 8), (300, 0), (70000, 255), (0, 255)):
        assert (label[ids == value] == class_id).all()


def test_only_segments_of_the_classes_count_for_the_1000_pixels(tmp_path: Path):
    config = make_coco(tmp_path)
    make_panoptic(config)

    def resize(content: dict) -> None:
        for image, areas in zip(content["annotations"], ((900, 5000, 0), (900, 0, 5000), (1001, 0, 0)), strict=False):
            for segment, area in zip(image["segments_info"], areas, strict=True):
                segment["area"] = area

    # Cat, tree and crowd: the tree of image 1 and the crowd of image 2 do not count.
    change(config, "panoptic", resize)
    source = open_source(DataConfig(source="coco_voc", root=config.root, name="panoptic"), "train")
    assert source.names == ("000000000003", "000000000004", "000000000005")


def test_wrong_panoptic_files_are_reported(tmp_path: Path):
    config = make_coco(tmp_path)
    make_panoptic(config)
    config = DataConfig(source="coco_voc", root=config.root, name="panoptic")
    source = open_source(config, "train")
    mask = source.files[1]
    Image.new("RGB", (WIDTH, HEIGHT), (8, 0, 0)).save(mask)
    with pytest.raises(UserError, match=r"000000000001.png: segment 8 is not listed for 000000000001.jpg"):
        source.load(0)
    Image.new("L", (WIDTH, HEIGHT), 7).save(mask)
    with pytest.raises(UserError, match=r"000000000001.png: expected three channels .* got Pillow mode L"):
        source.load(0)
    mask.unlink()
    with pytest.raises(UserError, match=r"panoptic_train2017: 1 of 5 files of split train are missing: 000000000001.p"):
        open_source(config, "train")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda c: c["annotations"][0].update(category_id=14),
            "annotation 101 has category 14",
        ),
        (lambda c: c["annotations"][0].update(image_id=9), "annotates image 9, which it does not list"),
        (
            lambda c: c["annotations"][0].update(segmentation=[[1, 1, 2, 2]]),
            "annotation 101 has a polygon with",
        ),
        (
            lambda c: c["annotations"][0].update(segmentation=[]),
            "annotation 101 has a polygon with",
        ),
        (
            lambda c: c["annotations"][3]["segmentation"].update(counts=[5]),
            "annotation 104 has runs of 5 pixels",
        ),
        (
            lambda c: c["annotations"][3]["segmentation"].update(size=[60, 40]),
            r"annotation 104 has the size .60, 40",
        ),
        (lambda c: c["categories"].pop(5), "has no category bus"),
        (lambda c: c.pop("categories"), "is not an annotation file of COCO .KeyError"),
    ],
)
def test_wrong_annotations_are_reported_with_their_file(tmp_path: Path, edit: Any, message: str):
    config = make_coco(tmp_path)
    change(config, "instances", edit)
    with pytest.raises(UserError, match=f"instances_train2017.json: {message}"):
        open_source(config, "train")


def test_missing_files_are_reported(tmp_path: Path):
    config = make_coco(tmp_path)
    (tmp_path / "train2017/000000000005.jpg").unlink()
    with pytest.raises(UserError, match=r"train2017: 1 of 2 files of split train are missing: 000000000005.jpg"):
        open_source(config, "train")
    with pytest.raises(UserError, match=r"panoptic_val2017.json: no such file; .* contains instances_train2017.json, "):
        open_source(DataConfig(source="coco_voc", root=str(tmp_path), name="panoptic"), "val")
    with pytest.raises(UserError, match=r"data.name=things: unknown annotations; use instances or panoptic"):
        open_source(DataConfig(source="coco_voc", root=str(tmp_path), name="things"), "val")


def test_the_data_check_accepts_the_layout(tmp_path: Path):
    report = check_before_training(make_coco(tmp_path / "coco"), tmp_path / "run", full=True)
    assert report.errors == ()
    train = report.splits[0]
    # The train of image 5 has 40 x 30 pixels; the dog of image 1 has 10 x 10 + 8 x 10 pixels.
    assert (train.pixels[19], train.pixels[12], train.checked) == (1200, 180, 2)
