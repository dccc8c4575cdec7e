"""Files that are damaged, of another kind or of another origin, and results that cannot be written."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.hostile.case import (
    Case,
    copy,
    cut,
    fails,
    fifo,
    folder,
    link,
    overwrite,
    refused,
    remove,
    replace,
    works,
    write,
)

MODEL, WEIGHTS, TRAIN, SCORES = "run/model.json", "run/model.weights.h5", "run/train.json", "run/scores.json"
DAMAGED = "is damaged or of another training: expected SHA-256"
PREDICT = "predict run=model.tflite images=photo.png"
PREDICT_RUN = "predict run=run images=photo.png"


def without_checksum(world):
    """Make model.json that of a version before the checksum."""
    path = world / MODEL
    content = json.loads(path.read_text())
    del content["weights_sha256"]
    path.write_text(json.dumps(content))


def with_key(path, key, value):
    """Set a key of a JSON file."""

    def change(world):
        content = json.loads((world / path).read_text())
        (world / path).write_text(json.dumps(content | {key: value}))

    return change


def other_weights(world):
    """Replace the weights by those of a wider network."""
    from deeplab.config import ModelConfig
    from deeplab.model.build import build_model

    config = ModelConfig(depth_multiplier=0.1, head="v3", aspp_rates=(), aspp_channels=16, classes=3)
    build_model(config).save_weights(world / WEIGHTS)


def attached(name, content):
    """Attach a file to model.tflite, compressed."""

    def change(world):
        with zipfile.ZipFile(world / "model.tflite", "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)

    return change


def truncated_png(world):
    data = (world / "photo.png").read_bytes()
    (world / "cut.png").write_bytes(data[: len(data) // 2])


def huge_png(world):
    """Write a PNG whose header claims 60,000 x 60,000 pixels."""
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    (world / "huge.png").write_bytes(data)


RUN_FOLDERS = [
    fails(PREDICT_RUN, f"model.weights.h5: {DAMAGED}", overwrite(WEIGHTS, -5000, b"\xff" * 64)),
    fails(PREDICT_RUN, f"model.weights.h5: {DAMAGED}", overwrite(WEIGHTS, 3000, b"\0" * 64)),
    fails(PREDICT_RUN, f"model.weights.h5: {DAMAGED}", cut(WEIGHTS)),
    fails(PREDICT_RUN, f"model.weights.h5: {DAMAGED}", write(WEIGHTS, "")),
    fails(PREDICT_RUN, f"model.weights.h5: {DAMAGED}", other_weights),
    fails(PREDICT_RUN, "model.weights.h5: is damaged or of another network", without_checksum, other_weights),
    fails(PREDICT_RUN, "model.weights.h5: is damaged or of another network", without_checksum, cut(WEIGHTS)),
    fails(PREDICT_RUN, "model.weights.h5: no such file", remove(WEIGHTS)),
    fails("FAST_EXPORT", f"model.weights.h5: {DAMAGED}", overwrite(WEIGHTS, -5000, b"\xff" * 64)),
    fails("FAST_EVALUATE", f"model.weights.h5: {DAMAGED}", overwrite(WEIGHTS, -5000, b"\xff" * 64)),
    fails("FAST_EVALUATE", "model.weights.h5: no such file", remove(WEIGHTS)),
    fails("TINY_TRAIN pretrained=run", f"model.weights.h5: {DAMAGED}", overwrite(WEIGHTS, -5000, b"\xff" * 64)),
    fails(PREDICT_RUN, "run/model.json: is not valid JSON", cut(MODEL)),
    fails(PREDICT_RUN, "run/model.json: is not valid JSON", write(MODEL, "")),
    fails(PREDICT_RUN, "run/model.json: holds a list, not a mapping", write(MODEL, "[]")),
    fails(PREDICT_RUN, "run/model.json: is not valid JSON", write(MODEL, b"\xff\xfe\x00")),
    fails(PREDICT_RUN, "run/model.json: model: a value is required", write(MODEL, "{}")),
    fails(PREDICT_RUN, "run/model.json: model.heads: unknown key", replace(MODEL, '"head"', '"heads"')),
    fails(PREDICT_RUN, "run/model.json: extra: unknown key", with_key(MODEL, "extra", 1)),
    fails(PREDICT_RUN, "run/model.json: model.classes", replace(MODEL, '"classes": 3', '"classes": -3')),
    fails(PREDICT_RUN, "run/model.json: 3 class names for 4 classes", replace(MODEL, '"classes": 3', '"classes": 4')),
    fails(PREDICT_RUN, "run/model.json: classes: expected", with_key(MODEL, "classes", "background")),
    fails(PREDICT_RUN, "run/model.json: classes", with_key(MODEL, "classes", [1, 2, 3])),
    fails(PREDICT_RUN, "run/model.json: classes", with_key(MODEL, "classes", ["a", "a", "b"])),
    fails(PREDICT_RUN, "run/model.json: classes", with_key(MODEL, "classes", ["a", "", "b"])),
    fails(PREDICT_RUN, "run/model.json: classes", with_key(MODEL, "classes", ["a", "\x1b[31mb", "c"])),
    fails(PREDICT_RUN, "run/model.json: classes", with_key(MODEL, "classes", None)),
    fails(PREDICT_RUN, "run/model.json: classes", with_key(MODEL, "classes", [str(i) for i in range(300)])),
    fails(PREDICT_RUN, "run/model.json: quantized: expected true or false", with_key(MODEL, "quantized", "no")),
    refused("evaluate run=run", "run=run: contains no model.json", remove(MODEL)),
    refused("evaluate run=run", "run/train.json: cannot be read", remove(TRAIN)),
    refused("evaluate run=run", "run/train.json: is not valid JSON", cut(TRAIN)),
    refused("evaluate run=run", "run/train.json: zzz: unknown key", with_key(TRAIN, "zzz", 1)),
    refused("evaluate run=run", "run/train.json: seed: expected", with_key(TRAIN, "seed", "a")),
    fails("FAST_EVALUATE data.root=missing", "missing: no such folder"),
    fails("TINY_TRAIN", "new/scores.json: is not valid JSON", write("new/scores.json", "{"), writes=("new",)),
    fails("TINY_TRAIN", "new/scores.json: holds a list", write("new/scores.json", "[]"), writes=("new",)),
    works(f"{PREDICT_RUN} output_stride=16", without_checksum, writes=("predictions/photo_ids.png", "predictions")),
]  # fmt: skip

TFLITE = [
    refused("export verify=bad.tflite", "bad.tflite: is not a .tflite file (0 bytes)", write("bad.tflite", "")),
    refused("export verify=bad.tflite", "bad.tflite: is not a .tflite file", write("bad.tflite", "no model at all")),
    fails("export inspect=bad.tflite", "bad.tflite: is not a .tflite file", copy("photo.png", "bad.tflite")),
    refused("predict run=bad.tflite images=photo.png", "bad.tflite: is not", copy("photo.png", "bad.tflite")),
    refused("predict run=model.tflite images=photo.png", "model.tflite", cut("model.tflite", 200)),
    refused("predict run=model.tflite images=photo.png", "model.tflite", cut("model.tflite", 2000)),
    refused("evaluate run=model.tflite data=folder data.root=set", "model.tflite", cut("model.tflite", 2000)),
    fails("export inspect=model.tflite", "model.tflite: ", cut("model.tflite", 2000)),
    fails("export inspect=p.tflite", "p.tflite: is no regular file", fifo("p.tflite")),
    refused("predict run=p.tflite images=photo.png", "p.tflite: is no regular file", fifo("p.tflite")),
    refused("evaluate run=m", "run=m: is a file whose name does not end in .tflite", copy("model.tflite", "m")),
    refused("evaluate run=m.TFLITE", "is a file whose name does not end in .tflite", copy("model.tflite", "m.TFLITE")),
    fails("export inspect=folder.tflite", "folder.tflite: cannot be read: Is a directory", folder("folder.tflite")),
    fails(PREDICT, "bytes, expected at most 100 files of 16,777,216 bytes", attached("bomb", b"\0" * 2**30)),
    fails("export inspect=model.tflite", "bytes, expected at most 100 files", attached("bomb", b"\0" * 17_000_000)),
    works("export inspect=model.tflite", attached("note\x1b[31m.txt", b"plain"), printed="note\\x1b[31m.txt"),
    works("export inspect=model.tflite", attached("note.txt", b"\x1b]0;title\x07"), printed="\\x1b]0;title\\x07"),
]

IMAGES = [
    fails("predict run=model.tflite images=cut.png", "cut.png", truncated_png, writes=()),
    fails("predict run=model.tflite images=huge.png", "huge.png", huge_png),
    fails("predict run=model.tflite images=bad.png", "bad.png", write("bad.png", "no image")),
    fails("predict run=model.tflite images=bad.png", "bad.png", write("bad.png", "")),
    fails("predict run=model.tflite images=bad.mp4", "bad.mp4", write("bad.mp4", "no video")),
    works(f"{PREDICT} out=p", writes=("p/photo_ids.png", "p/shares.json", "p")),
    works("predict run=model.tflite 'images=a[bold]b.png' out=p", copy("photo.png", "a[bold]b.png"),
          writes=("p/a[bold]b_ids.png", "p"), printed="a[bold]b"),
    works("predict run=model.tflite 'images=x[/y].png' out=p", copy("photo.png", "x[/y].png"),
          writes=("p/y]_ids.png", "p")),
    works("predict run=model.tflite 'images=a b (1).png' out=p", copy("photo.png", "a b (1).png"),
          writes=("p/a b (1)_ids.png", "p"), printed="a b (1)"),
    works("predict run=model.tflite 'images=ünï 日本.png' out=p", copy("photo.png", "ünï 日本.png"),
          writes=("p/ünï 日本_ids.png", "p")),
    works("predict run=model.tflite 'images=-x.png' out=p", copy("photo.png", "-x.png"), writes=("p/-x_ids.png", "p")),
    fails("predict run=model.tflite images=pipe.png", "images=pipe.png: is no regular file", fifo("pipe.png")),
    fails("predict run=model.tflite images=/dev/zero", "images=/dev/zero: is no regular file"),
    fails("predict run=model.tflite images=a.png", "is a link to a file that does not exist", link("a.png", "gone")),
    fails("predict run=model.tflite images=a.png", "is a link to a file that does not exist", link("a.png", "a.png")),
    fails("predict run=model.tflite images=set/images out=set/images", "out: set/images is the folder of the images"),
    fails("predict run=model.tflite images=set/images out=./set/../set/images", "is the folder of the images"),
    fails("predict run=model.tflite images='set/images/*' out=set/images", "is the folder of the images"),
    fails(f"{PREDICT} out=p", "p/photo_mask.png: Is a directory; check the path", folder("p/photo_mask.png")),
    fails(f"{PREDICT} out=p", "p/photo_ids.png: Is a directory; check the path", folder("p/photo_ids.png")),
    fails(f"{PREDICT} fit=pad", "error: photo.png: 40x50 pixels exceed the model's input of 33x33"),
    works("predict run=model.tflite images=f out=p", copy("photo.png", "f/a.png"), copy("photo.png", "f/sub/b.png"),
          writes=("p/a_ids.png", "p"), printed="images=f: not used: sub; for files in sub-folders give a pattern"),
    works("predict run=model.tflite images=f out=p", copy("photo.png", "f/a.png"), write("f/b.heic", "x"),
          writes=("p/a_ids.png", "p"), printed="images=f: not used: b.heic\n"),
    works("predict run=model.tflite images=f out=p", copy("photo.png", "f/a.png"), fifo("f/b.png"),
          writes=("p/a_ids.png", "p"), printed="images=f: not used: b.png\n"),
    works("predict run=model.tflite images=f out=p", copy("photo.png", "f/a\x1b[31m\nb.png"),
          writes=("p/a\x1b[31m\nb_ids.png", "p"), printed="a\\x1b[31m\\nb: "),
    works("predict run=model.tflite images=photo.PNG out=p", copy("photo.png", "photo.PNG"),
          writes=("p/photo_ids.png", "p")),
]  # fmt: skip

DATA = [
    fails("TINY_TRAIN", "set/masks", remove("set/masks/0.png")),
    fails("TINY_TRAIN data.classes=null", "class", write("set/classes.txt", "")),
    fails("TINY_TRAIN", "class", write("set/classes.txt", "a\na\nb\n")),
    fails("TINY_TRAIN", "class", write("set/classes.txt", "a\nb\x1b[1m\nc\n")),
    fails("TINY_TRAIN", "class", write("set/classes.txt", "\n".join(map(str, range(300))))),
    fails("TINY_TRAIN", "set/images/0.png", cut("set/images/0.png"), writes=("new",)),
    fails("TINY_TRAIN", "set/masks/0.png", cut("set/masks/0.png"), writes=("new",)),
    fails("TINY_TRAIN", "set/masks/0.png", copy("set/images/0.png", "set/masks/0.png"), writes=("new",)),
    fails("TINY_TRAIN data.root=empty", "empty/images: no such folder"),
    fails("TINY_TRAIN data=voc data.root=set", "set/VOC2012: no such folder"),
    fails("TINY_TRAIN data=voc data.root=voc", "train.txt", write("voc/VOC2012/ImageSets/Segmentation/train.txt", "")),
    fails("TINY_TRAIN data=voc data.root=voc", "nine", write("voc/VOC2012/ImageSets/Segmentation/train.txt", "nine\n"),
          writes=("new",)),
    fails("TINY_TRAIN data=folder data.root=set data.colors=missing.yaml", "missing.yaml: no such file"),
    fails("TINY_TRAIN data=folder data.root=set data.label_ids=[0,1]", "data.label_ids"),
]  # fmt: skip

CASES = [*RUN_FOLDERS, *TFLITE, *IMAGES, *DATA]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_damaged_or_odd_file_is_named_or_works(case: Case, check):
    check(case)
