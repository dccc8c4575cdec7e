"""Class ids for images of any size, from a Keras model or a .tflite file."""
