"""``darkroom explain``: show which pixels a model's answers rest on, and whether the explanation can be trusted."""

import glob
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom import files, paths
from darkroom.config import Node, command, digest, typed_keys
from darkroom.errors import UserError
from darkroom.tracking.store import Store

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table
    from torch import Tensor

    from darkroom.data.module import ImageData
    from darkroom.explaining.sanity import Finding
    from darkroom.models.abilities import Forecasts
    from darkroom.models.explainable import Explainable
    from darkroom.models.model import Model


@dataclass(frozen=True)
class Subjects:
    """Pictures ``(B, C, H, W)`` in [-1, 1] to explain, with what is known of them; ``source`` in words."""

    images: "Tensor"
    labels: "Tensor | None"
    origins: list[str]
    source: str


@command("explain")
def main(config: Node) -> None:
    """Explain what the configuration says."""
    sources = input_files(config["input"]) if config["input"] else []
    output = _output(config["output"])

    from darkroom import lab
    from darkroom.commands import summary
    from darkroom.explaining import attribution, explanation
    from darkroom.models.abilities import Forecasts
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
        summary.say(f"Pictures are cropped and resized to the {_size(model.image_shape)} that the run was trained on.")
    else:
        data = lab.open_recorded(description.config, config["paths"]["data"])
        subjects = from_data(model, data, most)
    for explainable in found:
        _explain(config, path, explainable.ready(), subjects, output)


def _explain(config: Node, path: Path, explainable: "Explainable", subjects: Subjects, output: Path | None) -> None:
    """Explain one kind of answer: draw the sheets, test the explanations, say what came out, keep everything."""
    from rich.console import Console

    from darkroom.commands import summary
    from darkroom.explaining import attribution, explanation, sanity, sheet

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


def input_files(given: str) -> list[Path]:
    """Return the pictures that a file, a folder or a pattern names, in the order of their paths.

    Raises:
        UserError: there are none.
    """
    from darkroom.data.folder import SUFFIXES, picture_files

    source = Path(given).expanduser()
    if source.is_dir():
        found = picture_files(source)
    elif source.is_file():
        found = [source]
    else:
        matches = sorted(map(Path, glob.glob(str(source), recursive=True)))
        found = [match for match in matches if match.is_file() and match.suffix.lower() in SUFFIXES]
    if not found:
        raise UserError(f"input={given} names no picture: give a file, a folder, or a pattern such as 'photos/*.png'.")
    return found


def from_files(sources: list[Path], image_shape: tuple[int, ...], words: str) -> Subjects:
    """Return pictures from files, resized on their shorter side and cropped to the central part.

    Raises:
        UserError: a file is no picture.
    """
    import torch

    from darkroom.data.folder import read_picture
    from darkroom.images import from_uint8
    from darkroom.picture_files.picture import UnreadablePicture

    channels, height, width = image_shape
    decoded = []
    for source in sources:
        try:
            decoded.append(read_picture(source, (channels, height, width)))
        except UnreadablePicture as error:
            raise UserError(f"{source} cannot be read as a picture ({error.reason}).") from None
    return Subjects(from_uint8(torch.stack(decoded)), None, [source.name for source in sources], words)


def from_films(sources: list[Path], model: "Forecasts", words: str) -> Subjects:
    """Return the first frames of films, as many as the model is shown, side by side.

    Raises:
        UserError: a file cannot be read, or has too few frames.
    """
    import torch

    from darkroom.data.videos import read_frames
    from darkroom.images import from_uint8
    from darkroom.models.forecast_outputs import strip

    channels, height, width = model.image_shape
    films = []
    for source in sources:
        film = read_frames(source, (channels, height, width))
        if len(film) < model.inputs:
            raise UserError(
                f"{source} has {len(film)} frame{'s' if len(film) > 1 else ''}, and this run is shown {model.inputs}."
            )
        films.append(film[: model.inputs])
    return Subjects(strip(from_uint8(torch.stack(films))), None, [source.name for source in sources], words)


def from_data(model: "Model", data: "ImageData", count: int) -> Subjects:
    """Return the first test pictures, the classes taking turns; of a model that draws, each second one is its own.

    Raises:
        UserError: the data have another shape than the model.
    """
    import torch

    from darkroom.explaining.explanation import in_turn
    from darkroom.images import from_uint8, to_uint8
    from darkroom.models.abilities import Draws, Forecasts
    from darkroom.models.forecast_outputs import strip

    if tuple(data.image_shape) != model.image_shape:
        raise UserError(
            f"The run has pictures of {_size(model.image_shape)} and {data.name} has {_size(data.image_shape)} now:"
            " point paths.data to the data it was trained on, or type input=<pictures>."
        )
    pictures = data.pictures("test")
    indices = in_turn(pictures.labels, len(pictures), count)
    images = from_uint8(pictures.batch(indices))
    if isinstance(model, Forecasts):
        shown = strip(images[:, : model.inputs])
        return Subjects(
            shown, None, [f"{model.inputs} frame{'s' if model.inputs > 1 else ''}"] * len(shown), f"{data.name} test"
        )
    labels = None if pictures.labels is None else pictures.labels[indices]
    names = ["" if labels is None else f" {data.class_names[label]}" for label in ([] if labels is None else labels)]
    source = f"{data.name} test"
    if not isinstance(model, Draws):
        return Subjects(images, labels, [f"true{name}" for name in names] or ["test"] * len(images), source)
    half = (count + 1) // 2
    images, labels = images[:half], None if labels is None else labels[:half]
    drawn = model.sample(torch.arange(len(images)), seed=0, labels=labels if model.classes else None)
    # As in files: a discriminator must not be helped by what rounding takes away.
    drawn = from_uint8(to_uint8(drawn))
    pairs = torch.stack([images, drawn.cpu()], dim=1).flatten(0, 1)[:count]
    origins = [word for name in names or [""] * len(images) for word in (f"test{name}", f"drawn{name}")]
    asked = None if labels is None else labels.repeat_interleave(2)[:count]
    return Subjects(pairs, asked, origins[:count], f"{source}, each second one drawn")


def sheets(model: "Model", data: "ImageData", title: str, count: int = 8) -> "dict[str, np.ndarray]":
    """Return the sheets of a few test pictures by the name of what they explain; the model stays as it is."""
    from darkroom.explaining import attribution, explanation, sheet

    drawn = {}
    subjects = from_data(model, data, count)
    images = subjects.images.to(model.device)
    for explainable in (found.ready() for found in model.explainable()):
        names = ["grad_cam", "integrated_gradients"] if explainable.layers else ["integrated_gradients"]
        methods = attribution.chosen(names, explainable)
        targets = explanation.targets_of(explainable, images, subjects.labels, None)
        explained = explanation.explain(explainable, methods, images, targets, subjects.origins)
        drawn[explainable.name] = sheet.draw(explained, f"{explainable.name} by {title}: {subjects.source}")
    return drawn


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


def _size(shape: tuple[int, ...]) -> str:
    channels, height, width = shape
    return f"{height}x{width} pixels with {channels} channel{'s' if channels > 1 else ''}"


if __name__ == "__main__":
    main()
