from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.datasets.voc import CLASSES, published_split, voc_source
from deeplab.errors import UserError


def make_devkit(root: Path, names: tuple[str, ...] = ("a", "b")) -> Path:
    """Write a VOCdevkit with one list `train` of small images; return the folder of the year."""
    year = root / "VOC2012"
    for part in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass"):
        (year / part).mkdir(parents=True)
    (year / "ImageSets/Segmentation/train.txt").write_text("\n".join(names) + "\n")
    for i, name in enumerate(names):
        Image.new("RGB", (8, 6), (40 * i, 0, 0)).save(year / f"JPEGImages/{name}.jpg")
        save_mask(year, name, np.full((6, 8), i, np.uint8))
    return year


def save_mask(year: Path, name: str, ids: np.ndarray) -> None:
    mask = Image.fromarray(ids)
    mask.putpalette([n // 3 for n in range(768)])
    mask.save(year / f"SegmentationClass/{name}.png")


def test_the_real_devkit_is_read_correctly(voc_root: Path):
    train, val = voc_source(voc_root, "train"), voc_source(voc_root, "val")
    assert (train.size, val.size) == (677, 345)
    first = train.load(0)
    # An aeroplane with persons: classes 1 and 15 of the devkit, and its white border.
    assert first.name == "2007_000032"
    assert first.image.shape == (281, 500, 3)
    assert set(np.unique(first.label)) == {0, 1, 15, 255}
    assert [CLASSES[i] for i in (1, 15)] == ["aeroplane", "person"]


def test_root_may_be_the_folder_of_the_year(tmp_path: Path):
    year = make_devkit(tmp_path)
    assert voc_source(tmp_path, "train").size == voc_source(year, "train").size == 2
    assert (voc_source(tmp_path, "train").load(1).label == 1).all()


def test_missing_folders_and_lists_are_reported(tmp_path: Path):
    with pytest.raises(UserError, match=r"nowhere: no such folder"):
        voc_source(tmp_path / "nowhere", "train")
    year = make_devkit(tmp_path)
    with pytest.raises(UserError, match=r"VOC2007: no such folder .*contains VOC2012"):
        voc_source(tmp_path, "train", name="VOC2007")
    with pytest.raises(UserError, match=r"training.txt: no such list file; .*contains train.txt"):
        voc_source(tmp_path, "training")
    (year / "SegmentationClass").rename(year / "Masks")
    with pytest.raises(UserError, match=r"SegmentationClass: no such folder"):
        voc_source(tmp_path, "train")


def test_damaged_files_are_reported_when_loaded(tmp_path: Path):
    year = make_devkit(tmp_path, ("a", "b", "c", "d", "e"))
    save_mask(year, "a", np.full((6, 8), 37, np.uint8))
    save_mask(year, "b", np.zeros((6, 7), np.uint8))
    (year / "SegmentationClass/c.png").unlink()
    jpeg = (year / "JPEGImages/d.jpg").read_bytes()
    (year / "JPEGImages/d.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    source = voc_source(tmp_path, "train")
    for index, message in enumerate(
        (
            r"a.png: expected labels 0..20 and 255 \(ignore\), got 37",
            r"b.png: expected 8x6 pixels, the size of .*b.jpg, got 7x6",
            r"c.png: no such file",
            r"d.jpg: cannot be read",
        )
    ):
        with pytest.raises(UserError, match=message):
            source.load(index)
    assert source.load(4).name == "e"


def _with_sbd(root: Path, place: str, kind: str = ".png") -> Path:
    """Write a devkit with train image `a` and val image `v`, and SBD masks of a (7), v (8), and of z and b (9)."""
    year = make_devkit(root, ("a", "v", "z", "b"))
    for name in "zb":
        (year / f"SegmentationClass/{name}.png").unlink()
    (year / "ImageSets/Segmentation/train.txt").write_text("a\n")
    (year / "ImageSets/Segmentation/val.txt").write_text("v\n")
    folder = root / place
    folder.mkdir(parents=True)
    for name, value in (("a", 7), ("v", 8), ("z", 9), ("b", 9)):
        ids = np.full((6, 8), value, np.uint8)
        if kind == ".png":
            Image.fromarray(ids).save(folder / f"{name}.png")
        else:
            pytest.importorskip("scipy.io").savemat(folder / f"{name}.mat", {"GTcls": {"Segmentation": ids}})
    return year


@pytest.mark.parametrize(
    ("place", "kind", "sbd"),
    [
        ("VOC2012/SegmentationClassAug", ".png", None),
        ("VOC2012/SegmentationClassAug/cls", ".mat", None),
        ("masks", ".png", "masks"),
        ("sbd/cls", ".mat", "sbd"),
        ("sbd/dataset/cls", ".mat", "sbd"),
        ("sbd/benchmark_RELEASE/dataset/cls", ".mat", "sbd"),
    ],
)
def test_train_aug_is_train_and_sbd_without_val_sorted_by_name(tmp_path: Path, place: str, kind: str, sbd: str | None):
    _with_sbd(tmp_path, place, kind)
    source = voc_source(tmp_path, "train_aug", sbd=None if sbd is None else tmp_path / sbd)
    assert source.names == ("a", "b", "z")
    # VOC's mask of `a` is all 0; the others have a mask in SBD only.
    assert [int(example.label.max()) for example in source.examples()] == [0, 9, 9]
    assert published_split(tmp_path, sbd=None if sbd is None else tmp_path / sbd) == "train_aug"


def test_published_split_is_train_without_masks_of_sbd(tmp_path: Path):
    _with_sbd(tmp_path, "masks")
    assert published_split(tmp_path) == "train"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no masks of the Semantic Boundaries Dataset in .*empty"):
        published_split(tmp_path, sbd=tmp_path / "empty")


def test_a_train_aug_list_defines_the_split(tmp_path: Path):
    year = _with_sbd(tmp_path, "masks")
    (year / "ImageSets/Segmentation/train_aug.txt").write_text("z\na\n")
    assert voc_source(tmp_path, "train_aug", sbd=tmp_path / "masks").names == ("z", "a")
    (year / "ImageSets/Segmentation/train_aug.txt").write_text("z\nq\nr\na\n")
    with pytest.raises(UserError, match=r"split train_aug: no mask for 2 of 4 images: q, r; complete SBD, or set"):
        voc_source(tmp_path, "train_aug", sbd=tmp_path / "masks")


def test_unreadable_sbd_masks_are_reported(tmp_path: Path):
    _with_sbd(tmp_path, "sbd/cls", ".mat")
    (tmp_path / "sbd/cls/b.mat").write_bytes(b"not a MATLAB file")
    with pytest.raises(UserError, match=r"b.mat: cannot be read"):
        voc_source(tmp_path, "train_aug", sbd=tmp_path / "sbd").load(1)


def test_names_with_spaces_are_read(tmp_path: Path):
    year = make_devkit(tmp_path, ("a 7", "b"))
    assert voc_source(tmp_path, "train").names == ("a 7", "b")
    (year / "ImageSets/Segmentation/train.txt").write_text("a 7  1\nb -1\n")
    assert voc_source(tmp_path, "train").names == ("a 7", "b")


def test_lists_of_the_detection_task_are_accepted(tmp_path: Path):
    year = make_devkit(tmp_path)
    (year / "ImageSets/Segmentation/train.txt").write_text("b  1\na -1\n")
    assert voc_source(tmp_path, "train").names == ("b", "a")
