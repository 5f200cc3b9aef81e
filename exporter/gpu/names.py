"""What the parts of a GPU are called in label values, and their numbers in NVML."""

CLOCKS = {"graphics": 0, "sm": 1, "memory": 2, "video": 3}
THRESHOLDS = {"shutdown": 0, "slowdown": 1, "memory_max": 2, "gpu_max": 3}
SEVERITIES = {"corrected": 0, "uncorrected": 1}
# Bits of the reasons for which clocks are held down at a moment.
EVENT_REASONS = {
    "idle": 0x1, "application_clocks": 0x2, "sw_power_cap": 0x4, "hw_slowdown": 0x8,
    "sync_boost": 0x10, "sw_thermal": 0x20, "hw_thermal": 0x40, "hw_power_brake": 0x80,
    "display_clocks": 0x100,
}  # fmt: skip
# Fields that count nanoseconds for which a reason has held them down.
EVENT_FIELDS = {
    74: "sw_power_cap", 76: "sync_boost", 269: "sw_thermal", 270: "hw_thermal",
    271: "hw_power_brake",
}  # fmt: skip
