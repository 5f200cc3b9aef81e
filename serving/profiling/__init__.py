"""`inferometer profile`: what a model's training data looks like, written beside the model."""
