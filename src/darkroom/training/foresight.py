"""What a run will need when its training is over, asked before the first step."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.errors import UserError
from darkroom.tracking.store import Store

if TYPE_CHECKING:
    from torch import nn

# A checkpoint holds the weights, as many numbers again twice for the optimizer, and for a while stands beside the one
# that it replaces; best and last are two.
_COPIES = 3 * 4


def check_room(folder: Path, model: "nn.Module") -> None:
    """Refuse a disk on which the checkpoints of a model would find no room.

    Raises:
        UserError: it is nearly full.
    """
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    needed = _COPIES * weights + 2**20
    place = next(each for each in (folder, *folder.parents) if each.is_dir())
    if (free := shutil.disk_usage(place).free) < needed:
        raise UserError(
            f"{folder} has room for {free / 1e6:,.0f} MB, and the checkpoints of this run need about"
            f" {needed / 1e6:,.0f}: free some space, or set DARKROOM_ROOT to a place on another disk."
        )


def check_registry(store: Store, name: str | None, metrics: Any) -> None:
    """Refuse to train for a registry that will not take the model: what it registers is the best checkpoint.

    Raises:
        UserError: nothing is scored, so that there is no best, or the store has no registry.
    """
    if not name:
        return
    if metrics.objective is None:
        raise UserError(
            f"tracking.register={name} registers the best checkpoint, and these metrics know no best: type"
            " metrics=generative or another that scores, or leave tracking.register out."
        )
    from mlflow.exceptions import MlflowException

    try:
        with store.plain_errors():
            store.client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise UserError(
                f"tracking.register={name} needs a model registry, and the store has none that answers"
                f" ({' '.join(str(error).split())[:200]}): leave tracking.register out."
            ) from error
