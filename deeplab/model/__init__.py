"""The network in Keras 3, for every Keras backend; batch norm synchronized over replicas requires TensorFlow.

On TensorFlow, batch norm, resizing and fake quantization each use a fused operator.
"""
