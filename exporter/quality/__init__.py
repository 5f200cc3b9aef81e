"""Prediction quality, counted: every figure is made of counters that add over rows and processes.

Knows NumPy; no HTTP, no store, no TensorFlow. A task (`task.py`) observes batches of outputs, packs
what a row's label will need, parses labels and counts labelled rows, all into `Sums`.
"""
