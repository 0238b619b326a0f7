"""How Lightning's Trainer writes and reads checkpoints: as everything else here does."""

from pathlib import Path
from typing import Any

from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from darkroom.tracking import checkpoints


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes aside and renames, reads tensors and plain containers only. Give it to the Trainer as a plugin."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint; see `checkpoints.save`."""
        checkpoints.save(Path(path), checkpoint)

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint onto the CPU whatever is asked for; see `checkpoints.load`."""
        return checkpoints.load(Path(path))
