"""Which version of Darkroom this is."""

__version__ = "0.1.0"
