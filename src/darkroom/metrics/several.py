"""Several metrics of one run, by name."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from darkroom.data.contract import Data, Progress
from darkroom.metrics.metric import Metric
from darkroom.metrics.scores import Scores


class Several(Metric):
    """Scores a model by each of its metrics; the leading one says which state is best, and what is ranked.

        Several({"fid": Generative(), "likelihood": ExactLikelihood()})

    A number that two of them give is called as the first calls it, that of another ``<its name>_<number>``. Protocols
    of others than the leading one stand behind their names, ``likelihood.nll_samples``: by them nobody is ranked.
    """

    def __init__(self, parts: Mapping[str, Metric], objective: str | None = None) -> None:
        """Name them; ``objective`` is the name of the leading one, None: the first."""
        self.leading = objective or next(iter(parts))
        first = {self.leading: parts[self.leading]}
        self.named = first | {name: part for name, part in parts.items() if name != self.leading}
        self.objective = self.named[self.leading].objective

    @property
    def parts(self) -> Mapping[str, Metric]:
        """All of them, the leading one first."""
        return self.named

    def check(self, model: object, data: Data, splits: Sequence[str]) -> None:
        """Refuse data that one of them could not score."""
        for part in self.named.values():
            part.check(model, data, splits)

    def score(
        self, model: object, data: Data, split: str, exact: bool = False, progress: Progress | None = None
    ) -> Scores:
        """Return what all of them say."""
        return score(self, self.named, model, data, split, exact, progress)


def score(
    metrics: Metric,
    names: Collection[str],
    model: object,
    data: Data,
    split: str,
    exact: bool = False,
    progress: Progress | None = None,
) -> Scores:
    """Return what those of a run's metrics say that have these names."""
    found = Scores({})
    for place, (name, part) in enumerate(metrics.parts.items()):
        if name in names:
            scores = part.score(model, data, split, exact, progress)
            found = found | (_called(name, scores, found) if place else scores)
    return found


def _called(name: str, scores: Scores, others: Scores) -> Scores:
    """Return scores whose numbers and pictures have names that no others have, and protocols behind their name."""

    def called(key: str, taken: Collection[str]) -> str:
        return f"{name}_{key}" if key in taken else key

    numbers = {key: called(key, others.values) for key in scores.values}
    references = {
        numbers[key]: replace(reference, metric=numbers.get(reference.metric, reference.metric))
        for key, reference in scores.references.items()
    }
    return Scores(
        {numbers[key]: value for key, value in scores.values.items()},
        {f"{name}.{key}": value for key, value in scores.protocol.items()},
        {called(key, others.pictures): picture for key, picture in scores.pictures.items()},
        {called(key, others.animations): frames for key, frames in scores.animations.items()},
        references,
    )
