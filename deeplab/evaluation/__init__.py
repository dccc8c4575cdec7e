"""Scores, and how to get them from a Keras model or a .tflite file."""
