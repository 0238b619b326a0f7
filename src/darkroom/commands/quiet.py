"""What libraries say that no person using the lab can act on."""

import logging
import warnings


def quieten() -> None:
    """Leave Lightning's warnings and drop its greetings; comes after it is imported, which sets its own level."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Inside Lightning, about PyTorch; gone when Lightning follows.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
    # Of a weight with one row, whose two layouts are the same.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    # Batches come from a stream that needs no workers: small data sets are in memory.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
