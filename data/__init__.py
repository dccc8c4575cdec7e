"""Data sets in the way of TensorFlow Datasets, a folder each."""
