"""Lends an open run to Lightning's Trainer."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers.logger import Logger

from darkroom.tracking.run import Run


class RunLogger(Logger):
    """Sends whatever is ``self.log``-ged to the run, at the number of images seen.

    The run stays its owner's: it is not closed here, and its parameters were recorded when it was opened. Processes of
    a distributed training other than the first have no run (None) and say nothing.
    """

    def __init__(self, run: Run | None, images_seen: Callable[[], int]) -> None:
        super().__init__()
        self.run = run
        self.images_seen = images_seen

    @property
    def name(self) -> str | None:
        """The run's name."""
        return self.run.name if self.run else None

    @property
    def version(self) -> str | None:
        """The run's id."""
        return self.run.id if self.run else None

    @property
    def save_dir(self) -> str | None:
        """The run's folder."""
        return str(self.run.folder) if self.run else None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers at the images seen so far; Lightning's own step counts batches and is not used."""
        named = {name: value for name, value in metrics.items() if name != "epoch"}  # the stream of images has no end
        if self.run is not None and named:
            self.run.log_metrics(named, self.images_seen())

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Record parameters, should a module bring its own."""
        if self.run is not None:
            self.run.log_params(vars(params) if isinstance(params, Namespace) else params)
