"""What a metric is, and what a new one must bring."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from darkroom.data.contract import Data, Pictures, Progress
from darkroom.metrics.scores import Scores
from darkroom.models.abilities import Anything

if TYPE_CHECKING:
    from torch import Tensor

    from darkroom.judges.eye import Eye
    from darkroom.judges.judge import Extractor


class Metric:
    """Scores a model on a split of data: on ``val`` every so many images while it trains, on ``test`` in the end.

    class Sharpness(Metric):
        needs = Draws                                  # what a model has to be able to do
        objective = ("sharpness", "max")               # the value that decides which state is best; None: none
        def __init__(self, every: Count = 20_000): ... # images between two scores
        def score(self, model, data, split, exact=False, progress=None): return Scores({"sharpness": ...}, ...)
    """

    needs: ClassVar[type] = Anything
    objective: tuple[str, str] | None = None
    every: int | None = None

    @property
    def parts(self) -> "Mapping[str, Metric]":
        """What it consists of, by name, the leading part first; a single metric is its own only part."""
        return {"": self}

    def prepare(self, model: Any, data: Any, say: Callable[[str], None]) -> None:
        """Have at hand what scoring takes, found or taught once; ``say`` hears of what takes long.

        The model is None where pictures alone are to be scored.

        Raises:
            UserError: it cannot be had for these data.
        """

    def check(self, model: Any, data: Data, splits: Sequence[str]) -> None:
        """Refuse data that could not be scored, before anything is trained or drawn.

        Raises:
            UserError: that is so.
        """

    def score(
        self, model: Any, data: Data, split: str, exact: bool = False, progress: Progress | None = None
    ) -> Scores:
        """Return the scores of a model on a split; ``exact`` is for the record, with baselines and all there is.

        The model, its modes and every random state are as before afterwards.
        """
        raise NotImplementedError


@runtime_checkable
class Judged(Protocol):
    """A metric that sees pictures through a judge, wherever they come from."""

    if TYPE_CHECKING:
        cache: Path

    def extractor(self, data: Data) -> "Extractor":
        """Return the judge of these data, found once; `darkroom.judges.judge.NoJudge` where it has to be made."""
        ...

    def eye(self, model: Any, data: Data) -> "Eye | None":
        """Return what tells whether captions are obeyed, taught once; None where nobody can tell."""
        ...

    def judged(self, model: Any, data: Data, split: str) -> dict[str, float]:
        """Return the scores of drawn pictures alone."""
        ...

    def score_images(
        self,
        images: "Pictures | Iterable[Tensor]",
        labels: "Tensor | None",
        data: Data,
        split: str,
        exact: bool = True,
        progress: Progress | None = None,
    ) -> Scores:
        """Return the scores of pictures, whoever made them."""
        ...


def judged(metrics: Metric) -> Judged | None:
    """Return the first of a run's metrics that sees pictures through a judge; None when none does."""
    return next((part for part in metrics.parts.values() if isinstance(part, Judged)), None)
