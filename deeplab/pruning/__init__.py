"""Channel pruning: a smaller MobileNetV2 from a trained one."""
