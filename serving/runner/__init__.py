"""The model runner: the process that owns TensorFlow, the queue, the batcher and the loaded models."""
