"""PASCAL VOC 2012 semantic segmentation, with the masks of the Semantic Boundaries Dataset where they are at hand."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image

from deeplab.datasets.source import checked_example
from deeplab.datasets.voc import CLASSES, TRAIN_AUG, devkit_year, read_any_mask, read_image, split_files
from deeplab.errors import UserError

VOC_URL = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
SBD_URL = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz"
OFFICIAL_SIZES = {"train": 1464, "val": 1449, "trainval": 2913, TRAIN_AUG: 10582}
"""Number of examples of each split of the complete sets."""


class Builder(tfds.core.GeneratorBasedBuilder):
    """DatasetBuilder for the segmentation task of PASCAL VOC 2012.

    Masks are 8-bit gray PNG whose values are the class ids, 255 where a pixel is to be ignored. Without a manual
    folder VOC and SBD are downloaded; with one nothing is, and the split train_aug is there if SBD is.

    Args:
        devkit: a VOCdevkit folder to take instead of `manual_dir/VOCdevkit`.
        sbd: a folder of SBD to take instead of `manual_dir/sbd`.
        only: one split to prepare, by the name of any list; None prepares all.
        kwargs: of tfds.core.GeneratorBasedBuilder.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012 (TFDS reads it from the class)
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Optional: put the extracted VOCdevkit into the manual folder, and SBD's benchmark_RELEASE, SegmentationClassAug or
    `sbd` beside it. What is not there is downloaded.
    """

    def __init__(
        self, devkit: str | None = None, sbd: str | None = None, only: str | None = None, **kwargs: Any
    ) -> None:
        self._devkit, self._sbd, self._only = devkit, sbd, only
        super().__init__(**kwargs)

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
            # The order of the lists is kept: the first so many pictures of val are the same everywhere.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        folder, sbd = self._folders(dl_manager)
        lists = folder / "ImageSets" / "Segmentation"
        wanted = [s for s in ("train", "val", "trainval") if self._only is None or (lists / f"{s}.txt").is_file()]
        if self._only is not None and self._only not in (TRAIN_AUG, *wanted):
            wanted.append(self._only)
        splits = {split: split_files(folder, split) for split in wanted}
        augmented = sbd is not None or (folder / "SegmentationClassAug").is_dir()
        if self._only == TRAIN_AUG or (self._only is None and augmented):
            splits[TRAIN_AUG] = split_files(folder, TRAIN_AUG, sbd)
        check_sizes({split: len(pairs) for split, pairs in splits.items()})
        kept = splits if self._only is None else {self._only: splits[self._only]}
        return {split: self._generate_examples(pairs) for split, pairs in kept.items()}

    def _folders(self, dl_manager: tfds.download.DownloadManager) -> tuple[Path, Path | None]:
        """The devkit's folder of 2012, and that of SBD if there is one."""
        if self._devkit is not None:
            return devkit_year(Path(self._devkit), "VOC2012"), None if self._sbd is None else Path(self._sbd)
        try:
            manual = Path(dl_manager.manual_dir)
        except AssertionError:  # TFDS's way to say that there is no such folder
            manual = None
        if manual is not None and (manual / "VOCdevkit").is_dir():
            places = [manual / name for name in ("sbd", "benchmark_RELEASE", "SegmentationClassAug")]
            return devkit_year(manual / "VOCdevkit", "VOC2012"), next((p for p in places if p.is_dir()), None)
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
    """Where train, val and trainval are the complete lists, train_aug must be complete too; a subset may be any size.

    Raises:
        UserError: one split is complete and another is not.
    """
    complete = [split for split, size in sizes.items() if size == OFFICIAL_SIZES.get(split) and split != TRAIN_AUG]
    if not complete:
        return
    for split, size in sizes.items():
        if size != OFFICIAL_SIZES.get(split, size):
            raise UserError(
                f"split {split}",
                f"{size} pictures, while {complete[0]} is complete; {OFFICIAL_SIZES[split]} are expected",
                "complete VOC2012 (and SBD), or start from lists of your own",
            )
