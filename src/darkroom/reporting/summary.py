"""What a command says when it is done."""

import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from darkroom import advice, baselines

if TYPE_CHECKING:
    from darkroom.metrics.scores import Scores
    from darkroom.tracking.run import Run


def say(sentence: str) -> None:
    """Print a sentence for the person, apart from what a program may read."""
    Console(stderr=True).print(sentence, highlight=False, markup=False, soft_wrap=True)


def score_table(scores: "Scores", title: str) -> Table:
    """Return the scores as one table: a row a metric, the model beside the baseline and the oracle.

    What is said of each class apart is in the `class_table`.
    """
    table = Table(title=title, title_justify="left", title_style="bold")
    rows = baselines.by_row(scores.references)
    table.add_column("metric")
    for row in ("this model", *rows):
        table.add_column(row, justify="right")
    for name, value in scores.own.items():
        others = [scores.values[names[name]] if name in names else None for names in rows.values()]
        table.add_row(name.replace("_", " "), _number(value), *("" if o is None else _number(o) for o in others))
    return table


def forecast_table(scores: "Scores", title: str) -> Table:
    """Return the scores of forecasts: a row for the model and for each predictor that learns nothing."""
    horizon = scores.protocol["horizon"]
    columns = {"mse": "MSE", "mse_at_1": "1 ahead", f"mse_at_{horizon}": f"{horizon} ahead"}
    columns |= {"psnr": "PSNR", "ssim": "SSIM"}
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("predictor", no_wrap=True)
    for heading in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    predictors = {"this model": {name: name for name in columns}, **baselines.by_row(scores.references)}
    for predictor, names in predictors.items():
        table.add_row(predictor, *(_number(scores.values[names[column]]) for column in columns))
    return table


def forecast_line(scores: "Scores") -> str:
    """Return what a table of forecasts amounts to."""
    values = scores.values
    words = [f"MSE {values['gain']:.2f} times below the best that learns nothing, {values['gain_least']:.2f} at worst"]
    if "psnr_lead" in values:
        words.append(f"PSNR {values['psnr_lead']:+.2f} dB from bicubic, {values['psnr_lead_least']:+.2f} at worst")
    if "best_mse" in values:
        words.append(f"best of {scores.protocol['futures']} futures: MSE {values['best_mse']:.4g}")
    return "; ".join(words)


def class_table(scores: "Scores") -> Table | None:
    """Return what is said of single classes as a row each; None where they were not scored one by one."""
    classes = baselines.by_class(scores.references)
    if not classes:
        return None
    table = Table(title="class by class", title_justify="left", title_style="bold")
    table.add_column("class")
    measures = list(dict.fromkeys(measure for names in classes.values() for measure in names))
    for measure in measures:
        table.add_column(measure, justify="right")
    for label, names in classes.items():
        found = [scores.values[names[measure]] if measure in names else None for measure in measures]
        table.add_row(Text(label), *("" if value is None else _number(value) for value in found))
    return table


def print_scores(console: Console, scores: "Scores", title: str) -> None:
    """Print the tables of a score and, faintly, its protocol."""
    if "horizon" in scores.protocol and "gain" in scores.values:
        console.print(forecast_table(scores, title))
        console.print(forecast_line(scores), highlight=False, soft_wrap=True)
    else:
        console.print(score_table(scores, title))
    if (table := class_table(scores)) is not None:
        console.print(table)
    console.print(protocol_line(scores.protocol), style="dim", highlight=False, soft_wrap=True)


def protocol_line(protocol: dict[str, Any]) -> str:
    """Return the protocol of a score in one line."""
    if not protocol:
        return "nothing was scored"
    if not {"real_images", "data", "split"} <= protocol.keys():  # of a metric of somebody's own
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in protocol.items())
    if not {"extractor", "extractor_hash", "generated_images", "library", "seed"} <= protocol.keys():
        bound = (
            f"; nll of {protocol['nll_images']} with {protocol['nll_samples']} draws each, seed {protocol['seed']}"
            if {"nll_samples", "nll_images", "seed"} <= protocol.keys()
            else ""
        )
        if {"horizon", "inputs", "told"} <= protocol.keys():
            shown, said = protocol["inputs"], protocol["horizon"]
            return (
                f"{protocol['real_images']} sequences of {protocol['data']} {protocol['split']}, {shown}"
                f" frame{'s' if shown > 1 else ''} shown, {said} forecast; told of {protocol['told']}"
            )
        return f"{protocol['real_images']} images of {protocol['data']} {protocol['split']}{bound}"
    return (
        f"{protocol['generated_images']} images against {protocol['real_images']} of {protocol['data']}"
        f" {protocol['split']}, judged by {protocol['extractor']} {str(protocol['extractor_hash'])[:8]},"
        f" {protocol['library']}, seed {protocol['seed']}"
    )


def finished(run: "Run", scores: "Scores", scoring: Any, cost: dict[str, float]) -> None:
    """Print the one table of a finished run, and where to look."""
    console = Console(file=sys.stdout)
    objective = scoring.metrics.objective
    at = (
        f", best val {objective[0]} {scoring.best:.4g} at {scoring.best_at:,} images"
        if scoring.best is not None
        else ""
    )
    if scores.values:
        print_scores(console, scores, f"{run.name}: test split{at}")
    sheets = sorted((run.folder / "samples").glob("samples_*.png"))
    lines = [f"run        {run.id[:8]}  {run.name}", f"folder     {shown(run.folder)}"]
    work = f", {cost['multiply_adds'] / 1e6:,.1f} million multiply-adds each" if "multiply_adds" in cost else ""
    lines.append(f"cost       {cost['parameters']:,.0f} parameters, {scoring.budget.elapsed:,.0f} s{work}")
    if sheets:
        lines.append(f"samples    {shown(sheets[-1])}")
    lines += [f"compare    {advice.line('compare')}", f"dashboard  {_dashboard(run)}"]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _dashboard(run: "Run") -> str:
    """Return what opens the dashboard: the server's address, or what to type."""
    if run.store.remote:
        return run.store.shown
    return shlex.join(["mlflow", "ui", "--workers", "1", "--backend-store-uri", run.store.shown])


def interrupted(run: "Run") -> None:
    """Print how to go on."""
    say(f"Interrupted; the state is saved. To go on, type: {advice.line('train', f'resume={run.id[:8]}')}")


def shown(path: Path) -> str:
    """Return a path relative to the current folder when it lies in it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "not known" if value != value else "infinite"
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e6 else f"{value:.4g}"
