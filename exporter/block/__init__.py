"""One process's memory-mapped block of metrics: the format, its writer and its reader."""
