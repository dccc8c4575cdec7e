"""Converts a Keras model to .tflite files and verifies them before they are written."""
