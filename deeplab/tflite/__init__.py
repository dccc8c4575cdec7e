"""Reads, rewrites, describes and runs .tflite files of any origin. Needs neither TensorFlow nor Keras."""
