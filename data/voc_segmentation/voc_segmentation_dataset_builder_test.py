"""The checks that TFDS makes of every builder, on drawn pictures in the layout of the devkit."""

import pytest

pytest.importorskip("dill", reason="tensorflow_datasets.testing needs dill")

import tensorflow_datasets as tfds

from deeplab.tfds_builders.voc_segmentation import voc_segmentation_dataset_builder as module


class VocSegmentationTest(tfds.testing.DatasetBuilderTestCase):
    """Runs on dummy_data/ as if it were downloaded."""

    DATASET_CLASS = module.Builder
    SPLITS = {"train": 2, "val": 2, "trainval": 4, "train_aug": 4}  # noqa: RUF012
    DL_EXTRACT_RESULT = {"voc": "", "sbd": ""}  # noqa: RUF012
    OVERLAPPING_SPLITS = ["trainval", "train_aug"]  # noqa: RUF012
