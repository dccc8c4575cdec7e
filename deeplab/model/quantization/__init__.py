"""Simulated int8: a float network that computes what its int8 .tflite file will compute, within rounding."""
