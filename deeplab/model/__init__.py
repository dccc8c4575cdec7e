"""The network in Keras 3.

It can be built and run on every Keras backend. On TensorFlow, batch norm, resizing and fake quantization each use a
fused operator (modules `batch_norm`, `resize`, `quantization.rounding`). Batch norm synchronized over replicas requires
TensorFlow.
"""
