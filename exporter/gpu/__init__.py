"""What GPUs do, read through NVML in one thread of the exporter that nobody waits for."""
