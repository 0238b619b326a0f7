"""``darkroom audit``: measure a run group by group, and say in words which differences are real."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom import files, paths
from darkroom.config.command import command
from darkroom.config.composing import compose
from darkroom.config.nodes import Node
from darkroom.errors import UserError
from darkroom.tracking.store import Store

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from darkroom.audits.audit import Audit, Group, Settings
    from darkroom.audits.fairness import Estimate
    from darkroom.data.module import ImageData
    from darkroom.lab import Description
    from darkroom.models.model import Model

COLUMNS = ("confidence", "calibration_error", "share", "precision", "recall", "fid")
SPOKEN = 12  # sentences on single groups that are printed; all of them are kept
Findings = tuple[str, dict[str, Any], "dict[str, np.ndarray]"]  # a name, plain containers, and pictures by suffix


@command("audit")
def main(config: Node) -> None:
    """Audit the run that the configuration names."""
    output = Path(config["output"]).expanduser() if config["output"] else None
    if output is not None and output.suffix.lower() != ".json":
        raise UserError(f"output={output} is no .json: name a file such as audit.json.")
    if output is not None:
        paths.check_place("output", output)

    from darkroom import lab
    from darkroom.audits.detection import is_detector
    from darkroom.tracking import checkpoints

    path = checkpoints.locate(config["checkpoint"], Store.open(paths.root()))
    model, description = lab.restore(path)
    if is_detector(description.class_names):
        name, facts, pictures = _audit_detector(model, description, config)
    else:
        name, facts, pictures = _audit_groups(model, description, config)
    _keep(path, f"{name}-{path.stem}-{_digest(facts['protocol'])}", facts, pictures, output)


def _audit_groups(model: "Model", description: "Description", config: Node) -> Findings:
    """Compare groups of pictures; print the table and the verdicts."""
    from rich.console import Console

    from darkroom.audits import forest
    from darkroom.models.abilities import Classifies, Draws

    column, split = config["groups"], config["split"]
    draws = isinstance(model, Draws)
    if config["generators"]:
        raise UserError(
            f"generators= are tried on a detector, and this run is a {description.family}: leave it out, or name a run"
            " of experiment=classifier/real_or_generated."
        )
    if not draws and not isinstance(model, Classifies):
        raise UserError(f"A {description.family} neither names nor draws pictures, so there are no groups to compare.")
    if draws and column != "label":
        raise UserError(
            f"groups={column} is not known of pictures that a {description.family} draws: a generator is audited by"
            " groups=label."
        )
    data = _open_data(config, description)
    audit = (_of_generator if draws else _of_classifier)(model, data, description, config)
    title = f"{config['checkpoint']}: {split} split of {data.name} by {column}"
    console = Console()
    console.print(_table(audit, title))
    console.print("\n".join(_verdicts(audit)), highlight=False, markup=False, soft_wrap=True)
    console.print(_small_print(audit), style="dim", highlight=False, markup=False, soft_wrap=True)
    safe = "".join(letter if letter.isalnum() else "_" for letter in column)
    return f"{split}-{safe}", audit.to_dict(), {"": forest.draw(audit, title)}


def _of_classifier(model: Any, data: "ImageData", description: "Description", config: Node) -> "Audit":
    from darkroom.audits.classifiers import audit_classifier

    split, column = config["split"], config["groups"]
    return audit_classifier(model, data, split, column, data.groups(column, split), _settings(config))


def _of_generator(model: Any, data: "ImageData", description: "Description", config: Node) -> "Audit":
    """Audit a generator as seen by the judge that scored it, or by the data's own where that knows no classes."""
    from darkroom import judging
    from darkroom.audits.generators import audit_generator
    from darkroom.metrics.metric import judged
    from darkroom.reporting import summary

    if not data.class_names:
        raise UserError(f"The pictures of {data.name} have no labels, so there are no classes to compare.")
    folder = config["paths"]["data"] or description.config["paths"]["data"]
    metrics = judged(judging.open_metrics(description.config["metrics"], data, summary.say, folder))
    if metrics is None or not metrics.extractor(data).class_names:
        node = compose("train", ["metrics=generative"])["metrics"]
        metrics = judged(judging.open_metrics(node, data, summary.say, folder))
    assert metrics is not None
    return audit_generator(model, data, config["split"], metrics.extractor(data), config["images"], _settings(config))


def _settings(config: Node) -> "Settings":
    from darkroom.audits.audit import Settings

    return Settings(config["tolerance"], config["confidence"], config["resamples"], config["seed"])


def _open_data(config: Node, description: "Description") -> "ImageData":
    """Return the data to audit on, whose pictures and classes must be those that the run knows."""
    from darkroom import lab

    recorded = description.config
    folder = config["paths"]["data"]
    if config["data"]:
        data = lab.open_data(config["data"], folder or recorded["paths"]["data"])
    else:
        data = lab.open_recorded(recorded, folder)
    if tuple(data.image_shape) != tuple(description.image_shape):
        raise UserError(
            f"The run has pictures of {tuple(description.image_shape)} (channels, height, width) and data={data.name}"
            f" of {tuple(data.image_shape)}: set data.image_size and data.channels to match."
        )
    if description.class_names and data.class_names and data.class_names != description.class_names:
        raise UserError(
            f"The run knows the classes {', '.join(description.class_names[:6])}, but data={data.name} has"
            f" {', '.join(data.class_names[:6])}: audit it on pictures of its own classes."
        )
    return data


def _audit_detector(model: Any, description: "Description", config: Node) -> Findings:
    """Try a detector on new seeds and on other generators; print the table and the verdict."""
    from rich.console import Console
    from rich.table import Table

    from darkroom import lab
    from darkroom.audits.detection import audit_detector
    from darkroom.data.detection import RealOrGenerated

    data = _open_data(config, description)
    assert isinstance(data.source, RealOrGenerated)
    real, folder = data.source.real, config["paths"]["data"]
    others = [lab.open_generator(reference, real, folder)[0] for reference in config["generators"] or []]
    audit = audit_detector(
        model, data, others, config["images"], config["resamples"], config["confidence"], config["seed"]
    )
    table = Table(title=f"{config['checkpoint']}: detector", title_justify="left", title_style="bold")
    table.add_column("told from real ones")
    for heading in ("AUC", "accuracy", "caught at 1% accused"):
        table.add_column(heading, justify="right")
    for before, row in zip([None, *audit.rows], audit.rows, strict=False):
        if before is not None and before.kind != row.kind:
            table.add_section()
        spans = [f"{row.values[key]:.3f} ({row.low[key]:.3f} to {row.high[key]:.3f})" for key in ("auroc", "caught")]
        table.add_row(row.name, spans[0], f"{row.values['accuracy']:.3f}", spans[1])
    console = Console()
    console.print(table)
    console.print(audit.verdict, highlight=False, markup=False, soft_wrap=True)
    small_print = (
        f"{audit.rows[0].real:,} real test pictures of {real.name if real else data.name} and as many drawn with seed"
        f" {config['seed']}; {config['confidence']:.0%} intervals, {config['resamples']:,} resamples; after JPEG and"
        " the like both kinds are changed"
    )
    console.print(small_print, style="dim", highlight=False, markup=False, soft_wrap=True)
    return "detector", audit.to_dict(), {f"-{name}": picture for name, picture in audit.pictures.items()}


def _table(audit: "Audit", title: str) -> "Table":
    """Return the groups as a table, the worst first; in brackets what real pictures, or chance, would get."""
    from rich.table import Table

    first = audit.measures[0]
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("class" if audit.column == "label" else audit.column)
    table.add_column("pictures", justify="right")
    table.add_column(f"{first.name} %", justify="right")
    for measure in audit.measures:
        table.add_column(f"{measure.name.replace('_', ' ')} gap", justify="right")
    compared = {measure.name for measure in audit.measures} - {"calibration_error"}  # of those the gap will do
    others = [name for name in COLUMNS if name in audit.groups[0].values and name not in compared]
    for name in others:
        table.add_column(name.replace("_", " ") + ("" if name == "fid" else " %"), justify="right")
    table.add_column("verdict")
    for group in audit.ranked:
        gaps = [_span(group.gaps[measure.name], "+.1f", 100) for measure in audit.measures]
        table.add_row(
            group.name,
            f"{group.count:,}",
            _span(group.values[first.name], ".1f", 100) + _beside(group, first.name),
            *gaps,
            *(_number(group, name) for name in others),
            audit.verdict(group, first),
        )
    return table


def _number(group: "Group", name: str) -> str:
    value = group.values[name]
    if math.isnan(value.value):
        return "-"
    shown = _span(value, ".2f", 1) if name == "fid" else f"{100 * value.value:.1f}"
    return shown + _beside(group, name)


def _beside(group: "Group", name: str) -> str:
    value = group.beside.get(name, math.nan)
    return "" if math.isnan(value) else f" [{value:.2f}]" if name == "fid" else f" [{100 * value:.1f}]"


def _span(estimate: "Estimate", form: str, scale: int) -> str:
    if math.isnan(estimate.value):
        return "-"
    value, low, high = (f"{scale * number:{form}}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low}, {high})"


def _verdicts(audit: "Audit") -> list[str]:
    """Return one line on each measure, then those on single groups."""
    lines = [audit.summary(measure) for measure in audit.measures]
    if audit.extremes is not None:
        best, worst, gap = audit.extremes
        name, pairs = audit.measures[0].name, math.comb(len(audit.groups), 2)
        lines.append(
            f"widest gap in {name}, {worst} to {best}: {_span(gap, '.1f', 100)} points, the interval being corrected"
            f" for {pairs} pairs"
        )
    sentences = audit.sentences()
    lines += [f"- {sentence}" for sentence in sentences[:SPOKEN]]
    if len(sentences) > SPOKEN:
        lines.append(f"- and {len(sentences) - SPOKEN} more in the file")
    return [*lines, *audit.notes]


def _small_print(audit: "Audit") -> str:
    settings = audit.settings
    return (
        f"{settings.confidence:.0%} intervals, {settings.resamples:,} resamples, seed {settings.seed}; those of gaps"
        f" hold all at once ({audit.protocol['correction']}); in brackets what "
        + ("a perfectly calibrated model would show" if "calibration_bins" in audit.protocol else "real pictures get")
    )


def _digest(protocol: Any) -> str:
    from darkroom.metrics import protocol as protocols

    return protocols.digest(protocol)[:8]


def _keep(
    checkpoint: Path, name: str, facts: dict[str, Any], pictures: "dict[str, np.ndarray]", output: Path | None
) -> None:
    """Write the numbers and pictures into the run's folder, and where a person asked for them."""
    from darkroom.images import save_png
    from darkroom.reporting import summary

    content = (json.dumps({**facts, "checkpoint": checkpoint.stem}, indent=2, allow_nan=False) + "\n").encode()
    home = checkpoint.parent.parent
    places = [home / "audits" / f"{name}.json"] if (home / "config.yaml").is_file() else []
    for place in [*places, *([output] if output else [])]:
        files.write(place, content)
        for suffix, picture in pictures.items():
            save_png(place.with_name(f"{place.stem}{suffix}.png"), picture)
        summary.say(f"kept as {summary.shown(place)}, with pictures beside it")


if __name__ == "__main__":
    main()
