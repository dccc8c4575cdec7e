"""Pretrained weights: official .tflite files and checkpoints, keras.applications, and run folders."""

from deeplab.pretrained.assignment import ImportReport
from deeplab.pretrained.importer import import_weights
from deeplab.pretrained.tflite_network import TfliteNetwork, load_quantized, load_tflite, read_network

__all__ = ["ImportReport", "TfliteNetwork", "import_weights", "load_quantized", "load_tflite", "read_network"]
