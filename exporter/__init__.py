"""The measuring half: a metric store for many processes, its merge, collectors and exposition.

It knows nothing of HTTP serving, Flask, gunicorn or TensorFlow and is useful without them.
"""

from exporter.bundle import Record
from exporter.catalogue import CATALOGUE
from exporter.child import Child
from exporter.collectors.base import CollectorSettings
from exporter.define import counter, gauge, histogram, info, state_set
from exporter.directory import OwnedDirectory, default_store_path, open_directory
from exporter.errors import ExporterError, ScrapeRequestError, StoreError, StoreUnreadable
from exporter.errors import SettingsError as ExporterSettingsError
from exporter.http import ExporterServer, Site
from exporter.metric import UNKNOWN, Family, Label
from exporter.null_recorder import NullRecorder
from exporter.place import Lock
from exporter.post_mortem import note_timeout
from exporter.recorder import Recorder, open_recorder
from exporter.scrape import Exposition, ExpositionSettings, Scraper
from exporter.scrape_request import ScrapeRequest
from exporter.settings import read_settings
from exporter.store_collector import StoreCollector
from exporter.totals import Total
from exporter.web_config import WebConfigFile

__all__ = [
    "CATALOGUE",
    "UNKNOWN",
    "Child",
    "CollectorSettings",
    "ExporterError",
    "ExporterServer",
    "ExporterSettingsError",
    "Exposition",
    "ExpositionSettings",
    "Family",
    "Label",
    "Lock",
    "NullRecorder",
    "OwnedDirectory",
    "Record",
    "Recorder",
    "ScrapeRequest",
    "ScrapeRequestError",
    "Scraper",
    "Site",
    "StoreCollector",
    "StoreError",
    "StoreUnreadable",
    "Total",
    "WebConfigFile",
    "counter",
    "default_store_path",
    "gauge",
    "histogram",
    "info",
    "note_timeout",
    "open_directory",
    "open_recorder",
    "read_settings",
    "state_set",
]
