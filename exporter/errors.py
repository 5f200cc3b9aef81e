"""The errors of the exporter package.

ExporterError
├── SettingsError     a wrong flag or environment variable; the command line ends with exit code 2
├── CatalogueError    a family, label or value that the catalogue does not know
├── StoreError        the store directory cannot be used; the message says why and what to do
│   ├── StoreUnreadable  for want of descriptors or memory; a scrape is answered with 503
│   └── StoreFull     the file system has no room for another series
│       └── BlockFull the block has none; another block may
├── BlockError        a file in the store directory that is not a readable block; `reason` is its
│                     label
└── ScrapeRequestError  a scrape that asks for what there is not; answered with 400
"""


class ExporterError(Exception):
    """Base of every error this package raises on purpose."""


class SettingsError(ExporterError):
    """A setting of the exporter process is wrong."""


class CatalogueError(ExporterError):
    """A metric family, a label or a label value is not declared."""


class StoreError(ExporterError):
    """The store directory cannot be created, locked or trusted."""


class StoreUnreadable(StoreError):
    """Blocks cannot be read for want of descriptors or memory: no total would be right."""


class StoreFull(StoreError):
    """There is no room for another series."""


class BlockFull(StoreFull):
    """There is no room for another series in this block."""


class BlockError(ExporterError):
    """A file is not a readable block.

    `reason` is one of the label values of the skipped-files metric.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ScrapeRequestError(ExporterError):
    """A scrape asks for something that does not exist here."""
