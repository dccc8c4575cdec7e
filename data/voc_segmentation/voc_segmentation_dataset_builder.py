"""PASCAL VOC 2012 semantic segmentation, optionally with the masks of the Semantic Boundaries Dataset (SBD)."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from etils import epath
from PIL import Image

from deeplab.datasets.image_files import read_image
from deeplab.datasets.source import checked_example
from deeplab.datasets.voc import CLASSES, TRAIN_AUG, devkit_year, read_any_mask, split_files
from deeplab.errors import UserError

VOC_URL = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
SBD_URL = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz"
OFFICIAL_SIZES = {"train": 1464, "val": 1449, "trainval": 2913, TRAIN_AUG: 10582}
"""Number of examples of each split of the complete data sets."""


class Builder(tfds.core.GeneratorBasedBuilder):
    """DatasetBuilder of the segmentation task of PASCAL VOC 2012.

    Masks are 8-bit gray PNG files of class ids, 255 = ignore. If the manual folder contains a VOCdevkit, nothing is
    downloaded, and the split train_aug exists if the manual folder also contains SBD. Otherwise VOC and SBD are
    downloaded.
    """

    # TFDS infers both from the module name, which fails in an editable installation: the sources are not in deeplab/.
    code_path = epath.Path(__file__)
    pkg_dir_path = code_path.parent

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012 (TFDS reads it from the class)
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Optional: to avoid the download, put the extracted VOCdevkit into the manual folder, and next to it SBD's
    benchmark_RELEASE, or its masks as PNG files in SegmentationClassAug.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "segmentation_mask": tfds.features.LabeledImage(
                        labels=list(CLASSES), shape=(None, None, 1), encoding_format="png"
                    ),
                    "name": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "segmentation_mask"),
            homepage="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
            # Keeps the order of the lists, so that the first n images of val are the same in every source.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        folder, sbd = self._folders(dl_manager)
        splits = {split: split_files(folder, split) for split in ("train", "val", "trainval")}
        if sbd is not None or (folder / "SegmentationClassAug").is_dir():
            splits[TRAIN_AUG] = split_files(folder, TRAIN_AUG, sbd)
        check_sizes({split: len(pairs) for split, pairs in splits.items()})
        return {split: self._generate_examples(pairs) for split, pairs in splits.items()}

    def _folders(self, dl_manager: tfds.download.DownloadManager) -> tuple[Path, Path | None]:
        """Return the VOC2012 folder and the folder of SBD, if there is one."""
        try:
            manual = Path(dl_manager.manual_dir)
        except AssertionError:  # raised by TFDS if the manual folder is missing or empty
            manual = None
        if manual is not None and (manual / "VOCdevkit").is_dir():
            sbd_folders = [manual / name for name in ("sbd", "benchmark_RELEASE", "SegmentationClassAug")]
            return devkit_year(manual / "VOCdevkit", "VOC2012"), next((p for p in sbd_folders if p.is_dir()), None)
        extracted = dl_manager.download_and_extract({"voc": VOC_URL, "sbd": SBD_URL})
        return devkit_year(Path(extracted["voc"]) / "VOCdevkit", "VOC2012"), Path(extracted["sbd"])

    def _generate_examples(self, pairs: list[tuple[Path, Path]]) -> Iterator[tuple[str, dict[str, Any]]]:
        for image, mask in pairs:
            example = checked_example(read_image(image), read_any_mask(mask), CLASSES, str(image), str(mask))
            ids = io.BytesIO()
            Image.fromarray(example.label).save(ids, "PNG", compress_level=3)
            ids.seek(0)
            yield image.stem, {"image": str(image), "segmentation_mask": ids, "name": image.stem}


def check_sizes(sizes: dict[str, int]) -> None:
    """Check that all splits are complete if one of train, val and trainval is; subsets may have any size.

    Args:
        sizes: number of examples by split.

    Raises:
        UserError: one split is complete and another is not.
    """
    complete = [split for split, size in sizes.items() if size == OFFICIAL_SIZES[split] and split != TRAIN_AUG]
    for split, size in sizes.items():
        if complete and size != OFFICIAL_SIZES[split]:
            problem = f"expected {OFFICIAL_SIZES[split]} images, because {complete[0]} is complete, got {size}"
            raise UserError(f"split {split}", problem, "complete VOC2012 (and SBD), or use lists of a subset")
