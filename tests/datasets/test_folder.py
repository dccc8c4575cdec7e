import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.config import DataConfig, ModelConfig, TrainConfig, TrainingConfig
from deeplab.datasets.folder import folder_source, split_names
from deeplab.datasets.open import open_source
from deeplab.datasets.pipeline import iterate, training_batches
from deeplab.errors import UserError

NAMES = ("background", "leaf")


def make_folder(root: Path, count: int = 5, suffix: str = "", classes: tuple[str, ...] = NAMES) -> DataConfig:
    """Write images p0.jpg ... with masks whose ids are 0 on the left and 1 + i % (classes - 1) on the right."""
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        rng = np.random.default_rng(i)
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).save(root / f"images/p{i}.jpg")
        ids = np.zeros((24, 32), np.uint8)
        ids[:, 16:] = 1 + i % (len(classes) - 1)
        Image.fromarray(ids).save(root / f"masks/p{i}{suffix}.png")
    return DataConfig(source="folder", root=str(root), classes=classes)


def test_a_fixed_fraction_is_held_out_for_validation(tmp_path: Path):
    config = make_folder(tmp_path, 10)
    train, val = (open_source(config, split) for split in ("train", "val"))
    assert (train.size, val.size) == (8, 2)
    assert set(train.names) | set(val.names) == {f"p{i}" for i in range(10)}
    assert open_source(config, "val").names == val.names
    others = [open_source(dataclasses.replace(config, split_seed=s), "val").names for s in range(1, 6)]
    assert any(names != val.names for names in others)


def test_new_images_move_few_existing_ones_to_the_other_split():
    before = set(split_names([f"p{i}" for i in range(100)], 0.2, 0)[1])
    after = set(split_names([f"p{i}" for i in range(105)], 0.2, 0)[1])
    assert len(before) == 20
    assert len(after) == 21
    assert len(before & after) >= 17


def test_both_splits_have_at_least_one_image():
    names = ["p0", "p1", "p2"]
    assert [len(split) for split in split_names(names, 0.01, 0)] == [2, 1]
    assert [len(split) for split in split_names(names, 0.99, 0)] == [1, 2]


def test_upper_case_suffixes_are_found_and_hidden_files_are_not(tmp_path: Path):
    config = dataclasses.replace(make_folder(tmp_path, 2), train_split="all", val_split="all")
    (tmp_path / "images/p0.jpg").rename(tmp_path / "images/scene.v2.JPG")
    (tmp_path / "masks/p0.png").rename(tmp_path / "masks/scene.v2.PNG")
    (tmp_path / "images/._p1.jpg").write_bytes(b"written by a copying program")
    (tmp_path / "images/notes.txt").write_text("not an image")
    (tmp_path / "images/empty").mkdir()
    assert open_source(config, "all").names == ("p1", "scene.v2")
    (tmp_path / "all.txt").write_text("scene.v2\n")
    assert open_source(config, "all").names == ("scene.v2",)


def test_impossible_splits_are_refused(tmp_path: Path):
    config = make_folder(tmp_path, 1)
    with pytest.raises(UserError, match=r"images: one image cannot be divided into training and validation"):
        open_source(config, "train")
    with pytest.raises(
        UserError, match=r"split test: neither .*test.txt nor .*test exists; without them there are train and val"
    ):
        folder_source(tmp_path, "test", config)
    street = street_folder(tmp_path / "street")
    with pytest.raises(UserError, match=r"data.classes: 2 names for 3 colors"):
        open_source(dataclasses.replace(street, classes=NAMES), "train")
    (tmp_path / "images/p0.jpg").unlink()
    with pytest.raises(UserError, match=r"images: no images; add files with the suffix .jpg"):
        open_source(config, "train")


def test_a_split_without_list_or_folder_is_refused(tmp_path: Path):
    config = make_folder(tmp_path, 4)
    with pytest.raises(UserError, match=r"split foo: neither .*foo.txt nor .*images/foo exists"):
        open_source(dataclasses.replace(config, train_split="foo"), "foo")
    assert open_source(dataclasses.replace(config, train_split="all"), "all").size == 4
    (tmp_path / "train.txt").write_text("p0\np1\n")
    with pytest.raises(UserError, match=r"split val: neither .* exists, but .*train.txt does; define both splits"):
        open_source(config, "val")


def test_images_in_sub_folders_are_used_or_named(tmp_path: Path):
    config = make_folder(tmp_path, 4)
    for part, suffix in (("images", "jpg"), ("masks", "png")):
        (tmp_path / part / "city").mkdir()
        (tmp_path / f"{part}/p3.{suffix}").rename(tmp_path / f"{part}/city/p3.{suffix}")
    with pytest.raises(UserError, match=r"images: images in the sub-folders city, which belong to no split"):
        open_source(config, "train")
    (tmp_path / "train.txt").write_text("p0\ncity/p3.jpg\n")
    (tmp_path / "val.txt").write_text("images/p1.jpg\np2\n")
    assert open_source(config, "train").names == ("p0", "p3")
    assert open_source(config, "val").names == ("p1", "p2")
    (tmp_path / "train.txt").write_text("p0\np0.jpg\n")
    with pytest.raises(UserError, match=r"train.txt: names p0 twice"):
        open_source(config, "train")
    (tmp_path / "train.txt").write_text("p3\n")
    assert open_source(config, "train").names == ("p3",)
    for part, suffix in (("images", "jpg"), ("masks", "png")):
        (tmp_path / part / "town").mkdir()
        (tmp_path / f"{part}/p0.{suffix}").rename(tmp_path / f"{part}/town/p3.{suffix}")
    # Now two images are called p3.
    with pytest.raises(UserError, match=r"train.txt: names p3, not in"):
        open_source(config, "train")


def test_cities_below_a_split_are_used_and_loose_images_next_to_it_are_named(tmp_path: Path):
    make_folder(tmp_path / "made", 2)
    for part, suffix in (("images", "jpg"), ("masks", "png")):
        for i, split in enumerate(("train", "val")):
            (tmp_path / part / split / "city").mkdir(parents=True)
            (tmp_path / f"made/{part}/p{i}.{suffix}").rename(tmp_path / f"{part}/{split}/city/p{i}.{suffix}")
    config = DataConfig(source="folder", root=str(tmp_path), classes=NAMES)
    (tmp_path / "images/._p0.jpg").write_bytes(b"written by a copying program")
    assert (open_source(config, "train").names, open_source(config, "val").names) == (("p0",), ("p1",))
    Image.new("RGB", (32, 24)).save(tmp_path / "images/extra.gif")
    with pytest.raises(UserError, match=r"images: 1 images next to the folder train belong to no split: extra.gif"):
        open_source(config, "train")


def test_gif_images_and_names_with_spaces_are_used(tmp_path: Path):
    config = make_folder(tmp_path, 3)
    Image.open(tmp_path / "images/p0.jpg").save(tmp_path / "images/p0.gif")
    (tmp_path / "images/p0.jpg").unlink()
    for part, suffix in (("images", "jpg"), ("masks", "png")):
        (tmp_path / f"{part}/p1.{suffix}").rename(tmp_path / f"{part}/a dog 1.{suffix}")
    (tmp_path / "train.txt").write_text("\ufeffp0.gif\r\na dog 1\r\n")
    (tmp_path / "val.txt").write_text("p2.jpg masks/mask_of_p2.png\n")
    source = open_source(config, "train")
    assert source.names == ("p0", "a dog 1")
    assert source.load(0).image.shape == (24, 32, 3)
    assert open_source(config, "val").names == ("p2",)


def test_files_that_are_not_used_are_named(tmp_path: Path):
    config = make_folder(tmp_path, 3)
    (tmp_path / "images/phone.heic").write_bytes(b"an image that Pillow cannot read")
    (tmp_path / "images/notes.txt").write_text("a note")
    Image.new("L", (32, 24)).save(tmp_path / "masks/lonely.png")
    assert open_source(config, "train").unused == ("images/phone.heic", "masks/lonely.png")
    (tmp_path / "train.txt").write_text("p0\n")
    # With a list, masks of other splits are not left over.
    assert open_source(config, "train").unused == ("images/phone.heic",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"background\n\nleaf\n", "expected a name for class 1, got ''"),
        (b"background\nleaf\nleaf\n", "classes 1 and 2 have the same name 'leaf'"),
        (b"background\nle\x07af\n", "the name of class 1 has a control character: 'le.x07af'"),
        (b"background\n", "expected 2 to 255 class names, got 1"),
        ("\n".join(map(str, range(256))).encode(), "expected 2 to 255 class names, got 256"),
    ],
)
def test_invalid_class_names_are_refused(tmp_path: Path, content: bytes, message: str):
    config = dataclasses.replace(make_folder(tmp_path, 3), classes=None)
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(UserError, match=f"classes.txt: {message}"):
        open_source(config, "train")
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbfbackground\r\nleaf\r\n\r\n")
    assert open_source(config, "train").classes == NAMES


def test_list_files_and_sub_folders_define_the_splits(tmp_path: Path):
    config = make_folder(tmp_path / "lists", 4)
    (tmp_path / "lists/train.txt").write_text("p2.jpg\nimages/p0.jpg\n")
    (tmp_path / "lists/val.txt").write_text("p3\n")
    assert open_source(config, "train").names == ("p2", "p0")
    assert open_source(config, "val").names == ("p3",)
    (tmp_path / "lists/val.txt").write_text("p9\n")
    with pytest.raises(UserError, match=r"val.txt: names p9, not in"):
        open_source(config, "val")
    for split, count in (("train", 3), ("val", 1)):
        config = make_folder(tmp_path / "made" / split, count)
        for part in ("images", "masks"):
            (tmp_path / "sub" / part).mkdir(parents=True, exist_ok=True)
            (tmp_path / "made" / split / part).rename(tmp_path / "sub" / part / split)
    config = dataclasses.replace(config, root=str(tmp_path / "sub"))
    assert (open_source(config, "train").size, open_source(config, "val").size) == (3, 1)


def test_missing_parts_are_reported(tmp_path: Path):
    config = make_folder(tmp_path, 3)
    with pytest.raises(UserError, match=r"data.classes: the class names are unknown"):
        folder_source(tmp_path, "train", dataclasses.replace(config, classes=None))
    (tmp_path / "classes.txt").write_text("background\nleaf\n")
    assert folder_source(tmp_path, "train", dataclasses.replace(config, classes=None)).classes == NAMES
    Image.open(tmp_path / "masks/p1.png").save(tmp_path / "masks/p1.jpg")
    (tmp_path / "masks/p1.png").unlink()
    config = dataclasses.replace(config, train_split="all", val_split="all")
    with pytest.raises(UserError, match=r"no mask for 1 of 3 images of split all: p1; p1 is a JPEG file, .* as PNG"):
        folder_source(tmp_path, "all", config)
    (tmp_path / "masks/p1.jpg").unlink()
    with pytest.raises(UserError, match=r"no mask for 1 of 3 images of split all: p1; .*data.mask_suffix"):
        folder_source(tmp_path, "all", config)
    (tmp_path / "masks").rename(tmp_path / "labels")
    with pytest.raises(UserError, match=r"masks: no such folder .* contains classes.txt, images, labels"):
        folder_source(tmp_path, "all", config)


def test_two_images_with_the_same_stem_are_refused(tmp_path: Path):
    config = make_folder(tmp_path, 2)
    Image.new("RGB", (32, 24)).save(tmp_path / "images/p0.png")
    with pytest.raises(UserError, match=r"p0.png: has the same stem as p0.jpg"):
        open_source(config, "train")


def test_file_names_with_separators_are_reported_whole(tmp_path: Path):
    config = dataclasses.replace(make_folder(tmp_path, 1), train_split="all", val_split="all")
    for part, suffix in (("images", "jpg"), ("masks", "png")):
        (tmp_path / f"{part}/p0.{suffix}").rename(tmp_path / f"{part}/a; b: c.{suffix}")
    Image.new("L", (7, 5)).save(tmp_path / "masks/a; b: c.png")
    with pytest.raises(UserError) as caught:
        open_source(config, "all").load(0)
    assert caught.value.subject == str(tmp_path / "masks/a; b: c.png")


def street_folder(root: Path) -> DataConfig:
    """Write a folder in the layout of CamVid: color masks, `_L` after the name, a void color in the top four rows."""
    colors = {"sky": [128, 128, 128], "road": [128, 64, 128], "car": [64, 0, 128]}
    make_folder(root, 6, suffix="_L", classes=tuple(colors))
    palette = np.array([*colors.values(), [0, 0, 0]], np.uint8)
    for path in (root / "masks").iterdir():
        ids = np.asarray(Image.open(path)).copy()
        ids[:4] = 3
        Image.fromarray(palette[ids]).save(path)
    table = root / "colors.yaml"
    table.write_text("".join(f"{name}: {color}\n" for name, color in colors.items()) + "ignore: [0, 0, 0]\n")
    return DataConfig(source="folder", root=str(root), mask_suffix="_L", colors=str(table), val_fraction=0.34)


def pet_folder(root: Path) -> DataConfig:
    """Write a folder with the mask values of the Oxford pets: 1 animal, 2 background, 3 border."""
    make_folder(root, 4)
    for path in (root / "masks").iterdir():
        ids = np.where(np.asarray(Image.open(path)) == 1, 1, 2).astype(np.uint8)
        ids[:, 15:17] = 3
        Image.fromarray(ids).save(path)
    return DataConfig(source="folder", root=str(root), classes=("background", "pet"), label_ids=(2, 1))


def test_color_masks_with_a_suffix_make_batches(tmp_path: Path):
    source = open_source(street_folder(tmp_path), "train")
    assert source.classes == ("sky", "road", "car")
    label = source.load(0).label
    assert (label[:4] == 255).all()
    assert (label[4:, :16] == 0).all()
    image, label = next(iterate(training_batches(source, TrainingConfig(batch_size=2, crop_size=33), 0)))
    assert image.shape == (2, 33, 33, 3)
    assert set(np.unique(label)) <= {0, 1, 2, 255}


def test_other_mask_values_are_mapped_to_ids(tmp_path: Path):
    config = pet_folder(tmp_path)
    label = open_source(config, "train").load(0).label
    assert (label[:, :15] == 0).all()
    assert (label[:, 15:17] == 255).all()
    assert (label[:, 17:] == 1).all()
    with pytest.raises(UserError, match=r"data.label_ids=\[2\]: expected 2 values, got 1"):
        open_source(dataclasses.replace(config, label_ids=(2,)), "train")


@pytest.mark.slow
@pytest.mark.parametrize("make", [street_folder, pet_folder])
def test_a_model_trains_on_color_masks_and_on_other_values(tmp_path: Path, make: Callable[[Path], DataConfig]):
    from deeplab.training.train import train

    scores = train(
        TrainConfig(
            run=str(tmp_path / "run"),
            model=ModelConfig(
                depth_multiplier=0.25, head="v3", aspp_rates=(), aspp_channels=8, batch_norm_momentum=0.9
            ),
            data=make(tmp_path / "data"),
            training=TrainingConfig(steps=2, batch_size=2, crop_size=33, save_every=2),
            output_stride=(16,),
        )
    )
    assert 0 <= scores[16].miou <= 1
    assert (tmp_path / "run/model.weights.h5").is_file()


@pytest.mark.parametrize("folder", ["images", "masks", "images/train"])
def test_a_root_inside_the_folder_of_images_and_masks_is_corrected(folder, tmp_path):
    config = make_folder(tmp_path / "my_data")
    root = tmp_path / "my_data" / folder
    root.mkdir(exist_ok=True)
    problem = "no folder images in it; data.root is the folder that contains images/ and masks/"
    with pytest.raises(UserError) as error:
        folder_source(root, "train", config)
    assert str(error.value) == f"{root}: {problem}; did you mean {tmp_path / 'my_data'}?"
    with pytest.raises(UserError, match="images: no such folder"):
        folder_source(tmp_path, "train", config)


@pytest.mark.parametrize(
    ("current", "root"), [("images", "."), ("images", "../masks"), (".", "images"), ("images/train", "..")]
)
def test_a_relative_root_inside_the_folder_of_images_and_masks_is_corrected(current, root, tmp_path, monkeypatch):
    config = make_folder(tmp_path / "my_data")
    (tmp_path / "my_data" / "images" / "train").mkdir()
    monkeypatch.chdir(tmp_path / "my_data" / current)
    with pytest.raises(UserError) as error:
        folder_source(root, "train", config)
    assert str(error.value).startswith(f"{root}: no folder images in it; ")
    assert str(error.value).endswith(f"; did you mean {tmp_path / 'my_data'}?")


def test_a_root_that_is_a_link_to_the_images_is_corrected(tmp_path):
    config = make_folder(tmp_path / "my_data")
    (tmp_path / "my_data" / "images").rename(tmp_path / "elsewhere")
    (tmp_path / "my_data" / "images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=rf"; did you mean {tmp_path / 'my_data'}\?"):
        folder_source(tmp_path / "my_data" / "images", "train", config)
