"""Simulated int8: a network that computes in float what its .tflite file will compute in 8 bit."""
