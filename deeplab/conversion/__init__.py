"""From a Keras model to a proven .tflite file."""
