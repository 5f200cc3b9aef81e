"""The inference server: HTTP front-ends, the model runner and what keeps them running."""

__version__ = "0.1.0"
