"""``darkroom explain``: show which pixels a model's answers rest on, and whether the explanation can be trusted."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom import files, paths
from darkroom.config.command import command
from darkroom.config.nodes import Node
from darkroom.config.recorded import digest
from darkroom.config.typed import typed_keys
from darkroom.errors import UserError
from darkroom.tracking.store import Store

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from darkroom.explaining.sanity import Finding
    from darkroom.explaining.subjects import Subjects
    from darkroom.models.explainable import Explainable


@command("explain")
def main(config: Node) -> None:
    """Explain what the configuration says."""
    output = _output(config["output"])

    from darkroom.explaining.subjects import from_data, from_files, from_films, input_files, size_of

    sources = input_files(config["input"]) if config["input"] else []

    from darkroom import lab
    from darkroom.explaining import attribution, explanation
    from darkroom.models.abilities import Forecasts
    from darkroom.reporting import summary
    from darkroom.tracking import checkpoints

    path = checkpoints.locate(config["checkpoint"], Store.open(paths.root()))
    model, description = lab.restore(path)
    found = model.explainable()
    if not found:
        raise UserError(
            f"A {description.family} explains nothing yet: name a run of model=classifier, whose classes can be"
            " explained, of model=gan, whose discriminator's realness can, of model=vae, whose latents can, or of"
            " model=sequence, whose forecasts can."
        )
    if not found[0].layers and "methods" not in typed_keys():
        config = {**config, "methods": ["integrated_gradients"]}
    for explainable in found:
        attribution.chosen(config["methods"], explainable, config["layer"])
        if config["target"] is not None:
            explanation.output(explainable, config["target"])
    most = max(config["count"], config["images"])
    if sources and isinstance(model, Forecasts):
        folder = Path(config["input"]).expanduser()
        films = [folder] if folder.is_dir() else sources  # the frames of a folder are one film
        subjects = from_films(
            films[:most], model, f"{config['input']} ({len(films)} film{'s' if len(films) > 1 else ''})"
        )
    elif sources:
        subjects = from_files(sources[:most], model.image_shape, f"{config['input']} ({len(sources)} pictures)")
        summary.say(
            f"Pictures are cropped and resized to the {size_of(model.image_shape)} that the run was trained on."
        )
    else:
        data = lab.open_recorded(description.config, config["paths"]["data"])
        subjects = from_data(model, data, most)
    for explainable in found:
        _explain(config, path, explainable.ready(), subjects, output)


def _explain(config: Node, path: Path, explainable: "Explainable", subjects: "Subjects", output: Path | None) -> None:
    """Explain one kind of answer: draw the sheets, test the explanations, say what came out, keep everything."""
    from rich.console import Console

    from darkroom.explaining import attribution, explanation, sanity, sheet
    from darkroom.reporting import summary

    inside = path.parent.parent if (path.parent.parent / "config.yaml").is_file() else None
    run = path.parent.parent.parent.name[:8] if inside else path.stem
    methods = attribution.chosen(config["methods"], explainable, config["layer"], config["steps"])
    images, origins = subjects.images, subjects.origins
    targets = explanation.targets_of(explainable, images, subjects.labels, config["target"])
    shown, tested = slice(config["count"]), slice(config["images"])
    explained = explanation.explain(explainable, methods, images[shown], targets[shown], origins[shown])
    findings = sanity.examine(explainable, methods, images[tested], targets[tested], config["seed"])
    title = f"{explainable.name} by {run}"
    count = len(images[tested])
    source = f"{count} picture{'s' if count > 1 else ''} of {subjects.source}"
    pictures = [sheet.draw(explained, title), sheet.draw_curves(findings, f"{title}: {source}")]
    Console().print(findings_table(findings, f"{title}: {source}"))
    layers = [config["layer"]] if config["layer"] else list(explainable.layers)
    if read := [name for name in methods if name in attribution.OF_MAPS]:
        summary.say(f"{' and '.join(read)}: from maps of {', '.join(layers)} pixels (layer= chooses one)")
    target = output or Path(f"explanation-{run}.png")
    _write(target, pictures)
    summary.say(f"sheet      {summary.shown(target.resolve())}\ncurves     {summary.shown(_curves(target).resolve())}")
    if inside is not None:
        settings = {key: value for key, value in config.items() if key not in ("checkpoint", "output", "paths")}
        kept = inside / "explanations" / f"{explainable.name}-{path.stem}-{digest(settings)[:8]}.png"
        _write(kept, pictures)
        facts = {
            "settings": settings,
            "pictures": count,
            "source": subjects.source,
            "layers": layers,
            "findings": [finding.to_dict() for finding in findings],
        }
        files.write(kept.with_suffix(".json"), (json.dumps(facts, indent=2) + "\n").encode())
        summary.say(f"kept as    {summary.shown(kept)}")


def findings_table(findings: "list[Finding]", title: str) -> "Table":
    """Return what the tests say: a row a method, the control and random order last."""
    from rich.table import Table

    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption="deletion, insertion: mean probability while the most important squares go, or come, first; same order,"
        " same places: rank correlation with what is shown of the network when its weights are random",
        caption_justify="left",
    )
    table.add_column("method", no_wrap=True)
    for heading in ("deletion\n(low)", "insertion\n(high)", "same\norder", "same\nplaces"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict")
    for finding in findings:
        correlations = [finding.same_order, finding.same_places]
        table.add_row(
            finding.name.replace("_", " "),
            f"{finding.deletion_area:.3f}",
            f"{finding.insertion_area:.3f}",
            *("" if value is None else f"{value:.2f}" for value in correlations),
            finding.verdict,
        )
    return table


def _output(given: str | None) -> Path | None:
    """Return where the sheet shall go, refused before anything is loaded if it cannot be."""
    if given is None:
        return None
    output = Path(given).expanduser()
    if output.suffix.lower() != ".png" or output.is_dir():
        raise UserError(f"output={given} is no .png file: name one, such as output=explanation.png.")
    paths.check_place("output", output)
    return output


def _write(path: Path, pictures: "list[np.ndarray]") -> None:
    """Write the sheet, and the curves beside it."""
    from darkroom.images import save_png

    for target, picture in zip((path, _curves(path)), pictures, strict=True):
        try:
            save_png(target, picture)
        except OSError as error:
            raise UserError(f"{target} cannot be written ({error.strerror}): type output=<another place>.") from error


def _curves(path: Path) -> Path:
    return path.with_stem(f"{path.stem}-curves")


if __name__ == "__main__":
    main()
