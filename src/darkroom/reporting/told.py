"""What the page is told of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from darkroom.tracking.store import RunRecord

_UNDRAWN = ("train/learning_rate", "train/images_per_second")


@dataclass(frozen=True)
class Told:
    """A run with everything that the page says of it beside its numbers.

    ``curves`` are points over images seen by metric; ``data`` the name and digest of the data by split;
    ``environment`` what ``environment.json`` holds.
    """

    record: RunRecord
    curves: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    data: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)


def wanted(record: RunRecord) -> list[str]:
    """Return the names of the curves that the page draws of a run: the objective, and what training logs."""
    objective = [record.objective[0]] if record.objective and record.objective[0] in record.metrics else []
    references = [name for name in record.metrics if objective and name.startswith(f"{objective[0]}_")]
    losses = [name for name in record.metrics if name.startswith("train/") and name not in _UNDRAWN]
    return [*objective, *references, *sorted(losses)]
