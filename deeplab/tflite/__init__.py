"""Reading, running and describing .tflite files, whoever made them; needs neither TensorFlow nor Keras."""
