"""Lets `python -m serving` stand for the command `inferometer`."""

import sys

from serving.cli import main

if __name__ == "__main__":
    sys.exit(main())
