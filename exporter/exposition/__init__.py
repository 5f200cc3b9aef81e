"""The formats in which metrics leave: text, OpenMetrics and protobuf, and the choice of one."""
