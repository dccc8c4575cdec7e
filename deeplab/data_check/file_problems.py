"""Problems of the files themselves: orientation, palettes, and files that are not used."""

from collections.abc import Sequence

from deeplab.data_check.data_report import Problem
from deeplab.data_check.statistics import SAMPLE_SIZE, SplitScan
from deeplab.datasets.image_files import read_palette
from deeplab.datasets.source import Source


def orientation_problems(scan: SplitScan) -> list[Problem]:
    """Return the problem that images have an EXIF orientation."""
    if not scan.turned:
        return []
    statistics = scan.statistics
    description = (
        f"{statistics.name}: {len(scan.turned)} of {statistics.checked} checked images have an EXIF orientation"
    )
    consequence = "they are turned upright, in training and in prediction: masks of the stored pixels do not match them"
    remedy = "check these masks against the images as viewers show them, or save the images without the orientation"
    return [Problem("warning", description, consequence, remedy, tuple(scan.turned))]


def palette_problems(source: Source) -> list[Problem]:
    """Return the problem that the palettes of masks, whose indices are the class ids, differ; reads 200 files."""
    count = len(source.classes)
    by_palette: dict[Sequence[tuple[int, int, int]], str] = {}
    for path in source.files[1 :: max(len(source.files) // SAMPLE_SIZE, 2) // 2 * 2]:
        colors = read_palette(path)[:count] if path.suffix.lower() in (".png", ".gif", ".bmp", ".tif", ".tiff") else ()
        # A shorter palette has the same beginning if it means the same classes.
        if colors and not any(_agree(colors, other) for other in by_palette):
            by_palette[colors] = str(path)
    if len(by_palette) < 2:
        return []
    description = f"{source.name}: the masks have {len(by_palette)} different palettes"
    consequence = "the palette index is the class id: the same class may have several ids"
    remedy = "save all masks with one palette, or give a color for each class (data=folder, data.colors)"
    return [Problem("warning", description, consequence, remedy, tuple(by_palette.values()))]


def unused_problems(source: Source) -> list[Problem]:
    """Return the problem that files next to the images and masks are not used."""
    if not source.unused:
        return []
    description = f"{source.name}: {len(source.unused)} files next to the images and masks are not used"
    remedy = "convert images to JPEG or PNG, name masks like their images, or remove the files"
    return [Problem("warning", description, "they do not take part in training or evaluation", remedy, source.unused)]


def _agree(first: Sequence[tuple[int, int, int]], second: Sequence[tuple[int, int, int]]) -> bool:
    return all(a == b for a, b in zip(first, second, strict=False))
