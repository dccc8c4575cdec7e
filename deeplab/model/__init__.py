"""The network in Keras 3.

It can be built, run and trained on every Keras backend. On TensorFlow, batch norm, resizing and fake quantization each
use a fused operator (`batch_norm`, `resize`, `quantization.rounding`); batch norm synchronized over replicas needs it.
"""
