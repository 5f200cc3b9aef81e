"""The model runner.

The process that owns TensorFlow, the queue, the batcher and the loaded models.
"""
