"""Sources of labeled pictures, their augmentation, and the pipeline that feeds training."""
