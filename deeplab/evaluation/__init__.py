"""Scores of Keras models and .tflite files on labeled images, and their comparison."""
