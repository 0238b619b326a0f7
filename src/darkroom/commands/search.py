"""Which value suits? A few short runs that differ in one number, and what to type for the best (``search=``)."""

import copy
from typing import TYPE_CHECKING, Any

from darkroom import config as configuration
from darkroom import paths
from darkroom.config import Node
from darkroom.errors import UserError
from darkroom.tracking import tag
from darkroom.tracking.store import RunRecord, Store

if TYPE_CHECKING:
    from rich.table import Table

# gamma = this * side^2 / batch size: 1 for MNIST in batches of 64, and between the two ends of four of the six
# schedules of Huang et al. 2024. StyleGAN2-ADA has 0.0002, for large pictures.
GAMMA = 0.08
SCORES = 4  # of each point, so that what falls apart is seen to


def search(config: Node) -> None:
    """Train every point that has not been trained yet, print how they compare, and say which to use.

    Raises:
        UserError: the model does not have what is searched, or no point came to a score.
    """
    points = points_of(config)
    from darkroom.callbacks.curves import Diverged
    from darkroom.commands import grid, summary
    from darkroom.commands.train import experiment_of, train
    from darkroom.tracking import run

    store = Store.open(paths.root())
    store.reap()
    experiment = experiment_of(config)
    names = {setting.rpartition(".")[2] for setting in config["search"]["settings"]}
    typed = configuration.task_overrides()
    parent = run.group(store, experiment, f"search over {' '.join(sorted(names))}", config, {"search": " ".join(typed)})
    found: dict[float, RunRecord] = {}
    with parent as opened, grid.gathering(opened.id):
        for value, point in points.items():
            digest = configuration.digest(point)
            if (finished := _made(store, experiment, digest, finished=True)) is None:
                try:
                    train(point, tags={tag.SEARCH_POINT: digest})
                except (Diverged, UserError) as error:
                    if _made(store, experiment, digest) is None:  # nothing that another value could mend
                        raise
                    summary.say(f"{point['name']}: {error}")
                finished = _made(store, experiment, digest)
            assert finished is not None
            found[value] = finished
        opened.log_json("search.json", {record.name: record.objective_value for record in found.values()})
    print_verdict(found, settings_of(config), typed)


def points_of(config: Node) -> dict[float, Node]:
    """Return the configuration of every value, the smallest first; each is checked."""
    wanted, settings = config["search"], settings_of(config)
    if config["metrics"].get("every") is None:
        raise UserError("search ranks its runs by their score, and nothing is scored: type metrics=generative.")
    points = {}
    for factor in sorted(wanted["factors"]):
        value = float(f"{start_of(config) * factor:.2g}")
        point = copy.deepcopy(config) | {
            "search": None,
            "name": f"{'='.join(setting.rpartition('.')[2] for setting in settings)}={value:g}",
            "budget": {"images": wanted["images"], "minutes": None},
        }
        point["metrics"]["every"] = max(1, wanted["images"] // SCORES)
        for setting in settings:
            *parents, last = setting.split(".")
            node = point
            for part in parents:
                node = node[part]
            node[last] = value
        configuration.check(point, "train", grid=True)
        points[value] = point
    return points


def settings_of(config: Node) -> list[str]:
    """Return the settings that take the value; what a configuration sets to 0 is left out on purpose and stays so."""
    wanted, known = config["search"]["settings"], configuration.flatten(config)
    settings = [setting for setting in wanted if known.get(setting)]
    if not settings:
        raise UserError(
            f"search chooses {' and '.join(wanted)}, which this model does not have: type model=gan"
            " penalty@model.penalty=r1_r2, or leave out search."
        )
    return settings


def start_of(config: Node) -> float:
    """Return the value that the factors multiply."""
    if config["search"]["start"] is not None:
        return float(config["search"]["start"])
    side, batch = config["data"].get("image_size"), config["data"].get("batch_size")
    if not isinstance(side, int) or not isinstance(batch, int):
        raise UserError("search begins from the size of pictures and batches, which these data do not say: type"
                        " search.start=<number>.")  # fmt: skip
    return GAMMA * side**2 / batch


def _made(store: Store, experiment: str, digest: str, finished: bool = False) -> RunRecord | None:
    """Return the newest run of a point, of this search or of an earlier one; if asked, of those that came to an end."""
    made = (record for record in store.runs(experiment) if record.tags.get(tag.SEARCH_POINT) == digest)
    return next((record for record in made if record.status == "FINISHED" or not finished), None)


def print_verdict(found: dict[float, RunRecord], settings: list[str], typed: list[str]) -> None:
    """Print a row a value, and the line to type for the best."""
    from rich.console import Console

    scored = {value: record for value, record in found.items() if _score(record) is not None}
    if not scored:
        raise UserError("No value came to a score: lower the learning rates, or type search.start=<larger number>.")
    metric, mode = next(iter(scored.values())).objective or ("", "min")
    best = (min if mode == "min" else max)(scored, key=lambda value: _score(scored[value]) or 0.0)
    console = Console()
    console.print(_table(found, metric))
    others = [part for part in typed if not part.lstrip("+~").startswith(("search", "name="))]
    values = list(found)
    way = "lowest" if mode == "min" else "highest"
    line = " ".join(["darkroom train", *others, *(f"{setting}={best:g}" for setting in settings)])
    lines = [f"{scored[best].name} has the {way} {metric}; to use it, type:", line]
    if len(values) > 1 and best in (values[0], values[-1]):
        edge = "smallest" if best == values[0] else "largest"
        lines.append(f"It is the {edge} that was tried: search.start={best:g} tries around it.")
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _score(record: RunRecord) -> float | None:
    value = record.objective_value
    return None if value is None or value != value else value


def _table(found: dict[float, RunRecord], metric: str) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(title="search", title_justify="left", title_style="bold")
    for title in ("value", f"best {metric}", f"last {metric}", "health", "run"):
        table.add_column(Text(title), justify="right" if metric in title or title == "value" else "left")
    for value, record in found.items():
        numbers: list[Any] = [_score(record), record.metrics.get(metric)]
        cells = ["" if number is None else f"{number:.4g}" for number in numbers]
        health = record.tags.get(tag.HEALTH, "") if record.status == "FINISHED" else record.tags.get(tag.ENDED, "")
        table.add_row(*map(Text, (f"{value:g}", *cells, health, record.short_id)))
    return table
