"""The tables of a report: runs measured alike, the seeds of a configuration together, references beside them."""

import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from darkroom.tracking.comparison import Comparison, Row

COSTS = ("seconds", "images_per_second", "peak_memory_mb", "peak_gpu_memory_mb", "parameters", "multiply_adds")
_SEEDS = ("seed",)  # what may differ between runs of one configuration
_DETAILS = re.compile(r"_(at_)?\d+$")  # a metric at a horizon, a strength: told of each run, and no column
_MOST_COLUMNS = 6  # of metrics; all of them are told of each run
_SPOKEN = {
    "fid": "FID",
    "kid": "KID",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "mse": "MSE",
    "mae": "MAE",
    "nll": "NLL",
    "f1": "F1",
    "ece": "ECE",
    "elbo": "ELBO",
    "lpips": "LPIPS",
}
FAMILIES = {"Gan": "GAN", "Vae": "VAE", "VqVae": "VQ-VAE", "PixelRnn": "PixelRNN", "CycleGan": "CycleGAN"}


@dataclass(frozen=True)
class Group:
    """Runs of one configuration, which differ in nothing but their seed."""

    name: str
    rows: tuple[Row, ...]

    @cached_property
    def seeds(self) -> tuple[Row, ...]:
        """One run for each seed, the newest: a run made again is no further evidence."""
        return tuple({_seed(row): row for row in reversed(self.rows)}.values())

    def values(self, metric: str) -> list[float]:
        """Return a metric of every seed that has it."""
        found = [row.value if row.objective and row.objective[0] == metric else row.metrics.get(metric)
                 for row in self.seeds]  # fmt: skip
        return [value for value in found if value is not None and math.isfinite(value)]

    def mean(self, metric: str) -> float | None:
        """Return the mean over seeds; None when none has it."""
        values = self.values(metric)
        return statistics.fmean(values) if values else None

    def spread(self, metric: str) -> float | None:
        """Return the standard deviation between seeds; None of fewer than two."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else None


@dataclass(frozen=True)
class Board:
    """Configurations under one protocol, the best first, and what they are measured against.

    ``columns`` are metrics, the objective first; ``references`` are values by the name of the row and the metric, the
    least and the largest where runs have recorded several.
    """

    groups: tuple[Group, ...]
    objective: tuple[str, str]
    columns: tuple[str, ...]
    references: Mapping[str, Mapping[str, tuple[float, float]]]
    settings: tuple[str, ...]

    @property
    def rows(self) -> list[Row]:
        """Every run, the best configuration's first."""
        return [row for group in self.groups for row in group.rows]

    @property
    def oracles(self) -> set[str]:
        """Which of the references no model is expected to beat."""
        return {each.row for row in self.rows for each in row.references.values() if each.kind == "oracle"}

    @property
    def replicated(self) -> bool:
        """Whether a configuration has several seeds."""
        return any(len(group.seeds) > 1 for group in self.groups)

    @property
    def families(self) -> str:
        """The families that take part."""
        return ", ".join(dict.fromkeys(family(row) for row in self.rows))

    @property
    def title(self) -> str:
        """What is measured on what: ``FID on mnist``."""
        data = self.rows[0].protocol.get("data")
        words = spoken(self.objective[0])
        words = words[:1].upper() + words[1:]
        return f"{words} on {data}" if data else words

    @property
    def measured(self) -> str:
        """How it is measured, in one line."""
        protocol = self.rows[0].protocol
        if not protocol:
            return f"{self.objective[0].partition('/')[0]} split, as logged while training: no protocol was recorded"
        parts = [f"{protocol.get('split', '?')} split"]
        if "generated_images" in protocol:
            parts.append(f"{protocol['generated_images']:,} drawn against {protocol['real_images']:,} real")
        elif "horizon" in protocol:
            parts.append(
                f"{protocol['real_images']:,} sequences, {protocol['inputs']} shown, {protocol['horizon']} forecast"
            )
        elif "real_images" in protocol:
            parts.append(f"{protocol['real_images']:,} images")
        if judge(self.rows[0]):
            parts.append(f"judge {judge(self.rows[0])}")
        for entry in ("degradation", "level", "told", "image_size"):
            if entry in protocol:
                parts.append(f"{entry.replace('_', ' ')} {protocol[entry]}")
        return " · ".join(parts)

    @property
    def verdict(self) -> str:
        """Say who is ahead, by how much against how far seeds lie apart, and how far it is from the references."""
        metric, mode = self.objective
        best, *others = self.groups
        told = f"{best.name} reaches {_short(metric)} {_figure(best, metric)}"
        if others:
            way = "lowest" if mode == "min" else "highest"
            mean = "mean " if best.spread(metric) is not None else ""
            told = f"{best.name} has the {way} {mean}{_short(metric)}, {_figure(best, metric)}"
            told += f", before {others[0].name} with {_figure(others[0], metric)}{_doubt(best, others[0], metric)}"
        known = [f"{name} {_range(*values[metric])}" for name, values in self.references.items() if metric in values]
        return told + (f". To compare with: {'; '.join(known)}." if known else ".")


def boards(comparison: Comparison) -> list[Board]:
    """Return a board for each ranking, those of the same families next to each other."""
    made = [_board(ranking) for ranking in comparison.rankings]
    return sorted(made, key=lambda board: (board.families, board.title, board.rows[0].experiment, board.rows[0].run_id))


def judge(row: Row) -> str:
    """Return the name of the network that judged, with the head of its hash; empty when none did."""
    extractor, digest = row.protocol.get("extractor"), row.protocol.get("extractor_hash")
    return f"{extractor}-{str(digest)[:8]}" if extractor else ""


def family(row: Row) -> str:
    """Return what kind of model a run trained; empty of what trains none, such as what holds a grid together."""
    name = row.params.get("model._target_", "").rpartition(".")[2]
    return FAMILIES.get(name, name)


def spoken(name: str) -> str:
    """Return the name of a metric or setting for a heading: ``FID``, ``class share error``."""
    words = name.rpartition("/")[2].replace("_", " ").split(" ")
    return " ".join(_SPOKEN.get(word, word) for word in words)


def differing(rows: Iterable[Row], shared: Callable[[str], bool] = lambda name: False) -> tuple[str, ...]:
    """Return the settings that are not the same in all of these runs, but for those that are ``shared``."""
    listed = list(rows)
    names = sorted({name for row in listed for name in row.params})
    return tuple(name for name in names if not shared(name) and len({row.params.get(name) for row in listed}) > 1)


def _board(ranking: Sequence[Row]) -> Board:
    objective = ranking[0].objective
    assert objective is not None  # or it would not have been ranked
    metric, mode = objective
    by_key: dict[object, list[Row]] = {}
    for row in ranking:
        chosen = frozenset((name, value) for name, value in row.params.items() if name not in _SEEDS)
        # What started from other weights is another configuration, even under the same settings.
        by_key.setdefault((row.experiment, chosen, tuple(sorted(_start(row).items()))), []).append(row)
    members = [sorted(rows, key=lambda row: (_seed(row), row.run_id)) for rows in by_key.values()]
    names = [_name(rows) for rows in members]
    groups = []
    for rows, name in zip(members, names, strict=True):
        told = name if names.count(name) == 1 else f"{name} ({rows[0].run_id[:8]})"
        groups.append(Group(told, tuple(rows)))
    groups.sort(key=lambda group: group.mean(metric) or 0.0, reverse=mode == "max")
    settings = differing(ranking, lambda name: name.endswith("._target_") and name != "model._target_")
    return Board(tuple(groups), objective, _columns(ranking, metric), _references(ranking, metric), settings)


def _start(row: Row) -> dict[str, str]:
    return {word: origin for word, origin in row.lineage.items() if word != "reproduces"}


def _seed(row: Row) -> tuple[int, str]:
    seed = row.params.get("seed", row.run_id)
    return (int(seed), "") if seed.isdigit() else (-1, seed)


def _name(rows: Sequence[Row]) -> str:
    """Return what several runs of one configuration are called: the name of the one, or what their names share."""
    names = [row.run_name for row in rows]
    if len(rows) == 1:
        return names[0]
    bare = {re.sub(r"\s*\bseed=\S+", "", name).strip() for name in names}
    if len(bare) == 1 and (only := bare.pop()):
        return only
    return rows[0].experiment


def _columns(rows: Sequence[Row], metric: str) -> tuple[str, ...]:
    split = metric.partition("/")[0]
    names = dict.fromkeys(name for row in rows for name in row.metrics if name.partition("/")[0] == split)
    kept = [
        name
        for name in names
        if name != metric
        and not any(name in row.references for row in rows)
        and not _DETAILS.search(name)
        and "/best_" not in name
    ]
    return (metric, *kept[: _MOST_COLUMNS - 1])


def _references(rows: Sequence[Row], metric: str) -> dict[str, dict[str, tuple[float, float]]]:
    split = metric.partition("/")[0]
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        for name, reference in row.references.items():
            value = row.metrics.get(name, math.nan)
            if name.partition("/")[0] == split and reference.kind != "class" and math.isfinite(value):
                found.setdefault(reference.row, {}).setdefault(reference.metric, []).append(value)
    return {word: {name: (min(values), max(values)) for name, values in known.items()} for word, known in found.items()}


def _figure(group: Group, metric: str) -> str:
    mean, spread = group.mean(metric), group.spread(metric)
    if mean is None:
        return "not measured"
    return f"{mean:.4g}" if spread is None else f"{mean:.4g} ± {spread:.2g} ({len(group.values(metric))} seeds)"


def _doubt(one: Group, other: Group, metric: str) -> str:
    """Say whether the lead of one configuration over another is larger than what seeds alone make."""
    first, second = one.values(metric), other.values(metric)
    if len(first) < 2 or len(second) < 2:
        return "; one seed does not tell how far seeds lie apart" if len(first) + len(second) < 4 else ""
    error = math.sqrt(statistics.variance(first) / len(first) + statistics.variance(second) / len(second))
    apart = abs(statistics.fmean(first) - statistics.fmean(second))
    return "; the difference lies within the spread of their seeds" if apart < 2 * error else ""


def _range(least: float, most: float) -> str:
    close = most - least <= 1e-3 * max(abs(most), abs(least))
    return f"{most:.4g}" if close else f"{least:.3g} to {most:.3g}"


def _short(metric: str) -> str:
    split, _, name = metric.rpartition("/")
    return f"{split} {spoken(name)}"
