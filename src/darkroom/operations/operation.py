"""What an operation is, a way to edit pictures with a run that has learnt it or without, and what a new one must bring.

    @dataclass
    class Dim(FileOperation):
        does = "makes a picture darker"
        example = "operation=dim input=photo.jpg output=dark.jpg share=0.7"
        share: Share = 0.5                                         # its settings, as they are typed
        def editor(self, run): return Editor(lambda colours, mask: (colours + 1) * self.share - 1)

Its file ``conf/operation/<name>.yaml`` names the class and its settings. What stands in the body of the class is read
from its source, so that all operations are listed without importing any.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np
from torch import Tensor

from darkroom import lab
from darkroom.data.module import ImageData
from darkroom.errors import UserError
from darkroom.metrics.metric import Metric
from darkroom.models import abilities
from darkroom.models.model import Model

if TYPE_CHECKING:
    from darkroom.editing.editor import Editor

Ability = TypeVar("Ability")


@dataclass(frozen=True)
class Learnt:
    """A run that edits: its model, in evaluation mode, what is recorded of it, and what it is called by."""

    model: Model
    description: lab.Description | None  # None: nothing is recorded of it, in Python alone
    reference: str

    def data(self, folder: str | None = None) -> ImageData:
        """Return the data that it was trained on, with their files in ``folder`` or where it found them."""
        assert self.description is not None
        return lab.open_recorded(self.description.config, folder)

    def metrics(self) -> Metric:
        """Return what scored it."""
        assert self.description is not None
        return lab.metrics_of(self.description.config["metrics"])


def able(run: Learnt | None, ability: type[Ability]) -> Ability:
    """Return the model of a run that `Operation.check` has let pass, as what it can do."""
    assert run is not None
    assert isinstance(run.model, ability)
    return run.model


class Operation:
    """One way to edit; `FileOperation` and `SheetOperation` are the two kinds."""

    does: ClassVar[str] = ""  # what becomes of a picture, in a line
    example: ClassVar[str] = ""  # what follows "darkroom edit "
    needs: type | None = None  # what a run must be able to do; None: none is needed
    # And what its settings, or its parts of themselves, are to say: a name, then what is accepted; None: nothing said.
    like: tuple[tuple[object, ...], ...] = ()
    optional: ClassVar[bool] = False  # with some settings no run is needed: then its constructor sets ``needs`` to None
    train: str = ""  # the experiment that makes such a run

    @property
    def name(self) -> str:
        """What it is called, as it is typed."""
        return lab.snake_case(type(self))

    def check(self, run: Learnt) -> None:
        """Refuse a run that cannot do it.

        Raises:
            UserError: what it lacks.
        """
        if self.needs is not None and not isinstance(run.model, self.needs):
            lacking = f"is a {type(run.model).__name__}, which {abilities.lacks(self.needs)}"
            raise UserError(
                f"checkpoint={run.reference} {lacking}: name a run that has learnt to {self.name}, or type darkroom"
                f" train experiment={self.train}."
            )


class FileOperation(Operation):
    """Edits each of any number of picture files, of any size."""

    files: ClassVar[bool] = True
    masked: ClassVar[bool] = False  # nothing can be done without a mask
    progress: Callable[[int, int], None] | None = None  # hears of steps where a picture takes many

    def editor(self, run: Learnt | None) -> "Editor":
        """Return what edits all pictures of a call; the run is one that `check` has let pass, None if none is needed.

        Raises:
            UserError: the settings do not suit the run.
        """
        raise NotImplementedError


class SheetOperation(Operation):
    """Makes a sheet or a film of one input, at the size that a run has learnt."""

    files: ClassVar[bool] = False
    ending: ClassVar[str] = ".png"  # of what is made when no output is named

    def edited(self, run: Learnt | None, source: Path) -> "Edited":
        """Return what becomes of a picture, a film or a folder of frames.

        Raises:
            UserError: the input cannot be read or does not suit, or the settings do not suit the run.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Edited:
    """What came of a picture, in [-1, 1]: a sheet of ``images`` ``(N, C, H, W)`` in ``columns``, and a ``film``.

    ``page`` is the sheet with words, uint8 ``(H, W, 3)``, where there is something to say beside the pictures.
    """

    images: Tensor
    columns: int
    film: Tensor
    sentence: str
    page: np.ndarray | None = None
