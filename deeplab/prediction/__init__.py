"""Prediction of class ids for images and videos, with a Keras model or a .tflite file."""
