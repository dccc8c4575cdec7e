"""Sources of labelled pictures, their augmentation, and the pipeline that feeds training."""
