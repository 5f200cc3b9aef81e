"""The Flask views: health, metadata, metrics. One blueprint a file, made from ready objects."""
