"""Writes drawn scenes as a folder of images and masks, to try data=folder with.

    python -m benchmarks.example_folder DIR [--images 60] [--width 240] [--height 160]

DIR then has images/NAME.png, masks/NAME.png (8-bit gray, values are class ids, 255 is ignored) and classes.txt. The
scenes are those of the built-in demo; a larger width than height is filled with two scenes side by side.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from deeplab.datasets.shapes import CLASSES, shapes_source


def write_folder(folder: Path, images: int, height: int, width: int) -> None:
    """Write `images` scenes of height x width pixels with their masks and the class names into `folder`."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    scenes = shapes_source("folder", height)
    columns = -(-width // height)
    for index in range(images):
        parts = [scenes.load(columns * index + i) for i in range(columns)]
        image = np.concatenate([part.image for part in parts], axis=1)[:, :width]
        label = np.concatenate([part.label for part in parts], axis=1)[:, :width]
        Image.fromarray(image).save(folder / "images" / f"{index:03d}.png")
        Image.fromarray(label).save(folder / "masks" / f"{index:03d}.png")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the folder that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, default in (("images", 60), ("width", 240), ("height", 160)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args(arguments)
    if given.folder.exists():
        parser.error(f"{given.folder} exists; name a new folder")
    for name in ("images", "width", "height"):
        if getattr(given, name) < 1:
            parser.error(f"--{name} {getattr(given, name)}: expected a positive number")
    write_folder(given.folder, given.images, given.height, given.width)
    print(f"written: {given.images} images and masks, {given.folder}/classes.txt")


if __name__ == "__main__":
    main()
