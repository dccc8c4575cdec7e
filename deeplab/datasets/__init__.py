"""Sources of labeled images, their augmentation, and the input pipeline of the training."""
