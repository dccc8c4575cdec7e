"""Speed of the input pipeline on photos of 12 megapixels: `python -m benchmarks.large_photos VOCDEVKIT`.

The photos are VOC images enlarged to 4000x3000 pixels, as JPEG files of quality 90, with their masks. Each row is a
training pipeline (decode, resize, scale, crop, flip, pad, batch): at full size, resized, and resized with the photos
kept in memory (`data.cache_memory`), whose first epoch fills the memory. The last row is an update of the default
network at that size. CPU time is of all threads, and hardly depends on other load.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from PIL import Image

from deeplab.config import DataConfig, ModelConfig, Resize, TrainConfig, TrainingConfig
from deeplab.datasets.open import open_source, open_training_source
from deeplab.datasets.pipeline import iterate, training_batches
from deeplab.datasets.resizing import resize_image, resize_label
from deeplab.datasets.voc import CLASSES
from deeplab.rendering.masks import id_mask

SIZE = (3000, 4000)


def make_photos(voc: str, folder: Path, count: int) -> None:
    """Write `count` photos and masks as images/ and masks/."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for example in open_source(DataConfig(source="voc", root=voc), "train").examples(count):
        image = Image.fromarray(resize_image(example.image, SIZE))
        image.save(folder / "images" / f"{example.name}.jpg", quality=90)
        id_mask(resize_label(example.label, SIZE)).save(folder / "masks" / f"{example.name}.png")


def batches(folder: Path, config: TrainingConfig, resize: Resize, side: int, cache: float) -> Iterator[object]:
    """Return the training batches of all photos."""
    size = None if resize == "none" else side
    data = DataConfig(source="folder", root=str(folder), classes=CLASSES, train_split="all")
    data = DataConfig(**vars(data) | {"resize": resize, "image_size": size, "cache_memory": cache})
    return iterate(training_batches(open_training_source(data), config, seed=0))


def updates(config: TrainingConfig, count: int) -> Iterator[float]:
    """Make updates of the default network on constant images, and yield their losses."""
    import tensorflow as tf

    from deeplab.training.train_state import make_train_state
    from deeplab.training.train_step import make_train_step

    state = make_train_state(TrainConfig(model=ModelConfig(classes=len(CLASSES)), training=config))
    step = make_train_step(state.model, state.optimizer, config)
    images = tf.zeros((config.batch_size, *config.crop, 3))
    labels = tf.zeros((config.batch_size, *config.crop), tf.int32)
    return (float(step((images, labels))["loss"]) for _ in range(count))


def report(title: str, stream: Iterator[object], skipped: int, batches: int, size: int) -> None:
    """Print images per second and CPU time per image of `batches` batches of `size` images, after `skipped` ones."""
    list(islice(stream, skipped))
    wall, processor = time.perf_counter(), time.process_time()
    list(islice(stream, batches))
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    images = batches * size
    print(f"{title:28} {images / wall:8.1f} images/s {1000 * processor / images:8.1f} CPU ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("voc", help="VOCdevkit folder")
    parser.add_argument("--photos", type=int, default=30)
    parser.add_argument("--side", type=int, default=257, help="data.image_size")
    parser.add_argument("--batch", type=int, default=6, help="a divisor of the number of photos")
    parser.add_argument("--rounds", type=int, default=3, help="epochs that are measured")
    arguments = parser.parse_args()
    config = TrainingConfig(batch_size=arguments.batch, crop_size=arguments.side)
    per_epoch = arguments.photos // arguments.batch
    rows: tuple[tuple[str, Resize, float, int], ...] = (
        ("resize=none", "none", 0.0, 0),
        ("letterbox, cache_memory=0", "letterbox", 0.0, 0),
        ("letterbox, first epoch", "letterbox", 0.25, 0),
        ("letterbox, later epochs", "letterbox", 0.25, 1),
    )
    with tempfile.TemporaryDirectory() as name:
        make_photos(arguments.voc, Path(name), arguments.photos)
        for title, resize, cache, skipped in rows:
            stream = batches(Path(name), config, resize, arguments.side, cache)
            epochs = 1 if title.endswith("first epoch") else arguments.rounds
            report(title, stream, skipped * per_epoch, epochs * per_epoch, arguments.batch)
    report("update", updates(TrainingConfig(batch_size=4, crop_size=arguments.side, weight_decay=4e-5), 7), 2, 5, 4)


if __name__ == "__main__":
    main()
