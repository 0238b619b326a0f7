"""What libraries say that no person using the lab can act on."""

import logging
import warnings


def quieten() -> None:
    """Leave Lightning's warnings and drop its greetings; comes before it is imported."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Inside Lightning, about PyTorch; gone when Lightning follows.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
    # Batches come from a stream that needs no workers: small data sets are in memory.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
