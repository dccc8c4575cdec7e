"""The page of a .tflite file: one self-contained HTML file that runs the model in a browser."""
