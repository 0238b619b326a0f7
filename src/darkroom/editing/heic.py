"""HEIC, which phones write: read through pillow-heif where that is installed, and by nothing otherwise."""

import functools
import importlib

ENDINGS = frozenset({".heic", ".heif", ".hif"})
ADVICE = "type pip install 'darkroom-lab[heic]' to have HEIC read"


@functools.cache
def readable() -> bool:
    """Say whether HEIC can be read here; from then on Pillow does."""
    try:
        reader = importlib.import_module("pillow_heif")
    except ImportError:
        return False
    reader.register_heif_opener()
    return True
