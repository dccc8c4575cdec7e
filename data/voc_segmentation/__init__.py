"""PASCAL VOC 2012 semantic segmentation as a TensorFlow dataset."""

from deeplab.tfds_builders.voc_segmentation.voc_segmentation_dataset_builder import Builder

__all__ = ["Builder"]
