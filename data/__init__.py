"""TFDS builders of data sets that TensorFlow Datasets lacks, installed as `deeplab.tfds_builders`."""
