"""The measuring itself: whether collectors work, what a scrape costs, what was left out."""

from exporter.catalogue.processes import ROLES
from exporter.define import counter, gauge
from exporter.metric import Label

SKIP_REASONS = (
    "empty", "truncated", "magic", "version", "corrupt", "owner", "not_regular", "unreadable",
    "foreign" )  # fmt: skip

# Every recorder has it, whatever else it records.
DROPPED_SERIES = counter(
    "inferometer_dropped_series_total",
    "Label sets that were folded into __other__ because their family was at its limit.",
    Label("family"),
    by=ROLES,
)

FAMILIES = (
    gauge(
        "inferometer_build_info",
        "1, with the versions of Inferometer, Python and TensorFlow (empty where not installed).",
        Label("version"), Label("python"), Label("tensorflow"),
    ),
    gauge(
        "inferometer_collector_success",
        "1 if the collector's last run succeeded, else 0.",
        Label("collector"),
    ),
    gauge(
        "inferometer_collector_duration_seconds",
        "How long the collector's last run took.",
        Label("collector"),
    ),
    gauge("inferometer_exporter_merge_seconds", "How long merging all blocks took."),
    gauge("inferometer_exporter_render_seconds", "How long rendering the last scrape took."),
    gauge("inferometer_exporter_series", "Series in this scrape that come from the store."),
    gauge("inferometer_exporter_blocks", "Processes' blocks read for this scrape."),
    DROPPED_SERIES,
    gauge(
        "inferometer_exporter_conflicting_families",
        "Families of which series are left out: another process defines them with other labels.",
    ),
    gauge(
        "inferometer_exporter_skipped_files",
        "Files in the store directory that are not readable blocks, by reason.",
        Label("reason", SKIP_REASONS),
    ),
)  # fmt: skip
