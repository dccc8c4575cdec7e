"""TFDS's own checks of a dataset builder, on drawn images in the layout of the devkit."""

import pytest

pytest.importorskip("dill", reason="tensorflow_datasets.testing needs dill")

import tensorflow_datasets as tfds
from deeplab.tfds_builders.voc_segmentation import voc_segmentation_dataset_builder as module


class VocSegmentationTest(tfds.testing.DatasetBuilderTestCase):
    """Builds the data set from dummy_data/ in place of the downloads."""

    DATASET_CLASS = module.Builder
    SPLITS = {"train": 2, "val": 2, "trainval": 4, "train_aug": 4}  # noqa: RUF012
    DL_EXTRACT_RESULT = {"voc": "", "sbd": ""}  # noqa: RUF012
    OVERLAPPING_SPLITS = ["trainval", "train_aug"]  # noqa: RUF012
