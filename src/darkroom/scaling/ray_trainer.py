"""A trainer for one of Ray's processes; how many there are and what each has, Ray has seen to by then."""

from typing import Annotated, Any

import pytorch_lightning as pl

from darkroom.numbers import Count, Range
from darkroom.scaling import on_ray


class RayTrainer(pl.Trainer):
    """Lightning's trainer among the processes that `on_ray.train` starts; it takes all that Lightning's does.

    ``workers``, ``cpus`` and ``gpus`` are for Ray. Raises `UserError` when Ray is not installed.
    """

    def __init__(
        self, workers: Annotated[int, Range(0, 256)] = 2, cpus: Count = 1, gpus: bool = False, **settings: Any
    ) -> None:
        try:
            from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment, prepare_trainer
        except ImportError:
            on_ray.import_ray()  # which says what to install
            raise

        settings["plugins"] = [*settings.pop("plugins", []), RayLightningEnvironment()]  # type: ignore[no-untyped-call]
        # Two networks train in turns: each step leaves the other's weights unused.
        settings["strategy"] = RayDDPStrategy(find_unused_parameters=True)  # type: ignore[no-untyped-call]
        super().__init__(**settings)
        prepare_trainer(self)
