"""``darkroom prepare``: find, fetch or make data; verify, split and hash them; say what they are."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.config.command import command
from darkroom.config.nodes import Node
from darkroom.errors import UserError
from darkroom.tracking import outputs

if TYPE_CHECKING:
    from rich.table import Table

    from darkroom.data.module import ImageData
    from darkroom.data.pictures import Pictures

INDEX = "data.json"
_SHOWN = 64  # pictures on the sheet, or as many frames of clips, a clip a row
_CHUNK = 1024  # pictures counted at once, so that clips that are drawn when asked for fit into memory


@command("prepare")
def main(config: Node) -> None:
    """Print what the data are, and leave it in a folder if one was named."""
    if config["data"] is None:
        raise UserError("There is nothing to prepare: type data=<data>, such as data=digits.")
    output = Path(config["output"]).expanduser() if config["output"] else None
    if output is not None:
        outputs.check(output, INDEX)

    from rich.console import Console

    from darkroom import images, lab
    from darkroom.reporting import export, summary

    data = lab.open_data(config["data"], config["paths"]["data"])
    facts = {**export.digests(data), "shape": list(data.image_shape), "frames": data.frames}
    facts |= {"statistics": {split: statistics(data, split) for split in data.split_digests}}
    console = Console()
    console.print(table_of(facts))
    lines = [f"digest     {data.digest}"]
    if output is not None:
        with outputs.writing(output, INDEX, facts) as folder:
            images.save_png(folder / "sheet.png", sheet_of(data))
        lines.append(f"folder     {summary.shown(output.resolve())}")
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def statistics(data: "ImageData", split: str) -> dict[str, Any]:
    """Return how many pictures a split has, of each class, and mean and standard deviation of each channel, 0 to 255.

    Sums are of whole numbers, so that the result does not depend on how the pictures are read.
    """
    import torch

    pictures = data.pictures(split)
    channels = data.image_shape[0]
    total, squares = torch.zeros(channels, dtype=torch.int64), torch.zeros(channels, dtype=torch.int64)
    count = 0
    for start in range(0, len(pictures), _CHUNK):
        batch = pictures.batch(torch.arange(start, min(start + _CHUNK, len(pictures))))
        values = batch.movedim(-3, 0).flatten(1)
        for level in range(channels):
            histogram = torch.bincount(values[level], minlength=256)
            total[level] += (histogram * torch.arange(256)).sum()
            squares[level] += (histogram * torch.arange(256).square()).sum()
        count += values.shape[1]
    mean = [number / count for number in total.tolist()]
    deviation = [
        (square / count - average * average) ** 0.5 for square, average in zip(squares.tolist(), mean, strict=True)
    ]
    return {"images": len(pictures), "classes": classes(data, pictures), "mean": mean, "deviation": deviation}


def classes(data: "ImageData", pictures: "Pictures") -> dict[str, int]:
    """Return how many pictures there are of each class, by its name; nothing where there are no classes."""
    import torch

    if pictures.labels is None or not data.class_names:
        return {}
    counts = torch.bincount(pictures.labels, minlength=len(data.class_names)).tolist()
    return dict(zip(data.class_names, counts, strict=True))


def sheet_of(data: "ImageData") -> Any:
    """Return training pictures from the first to the last as a contact sheet, of clips the frames of each in a row."""
    from darkroom import images

    pictures = data.pictures("train")
    if data.frames is None:
        return images.sheet(pictures.batch(images.evenly(len(pictures), _SHOWN)))
    clips = pictures.batch(images.evenly(len(pictures), max(1, _SHOWN // data.frames)))
    return images.sheet(clips.flatten(0, 1), columns=data.frames)


def table_of(facts: dict[str, Any]) -> "Table":
    """Return the splits as a table, a row each."""
    from rich.table import Table

    channels, height, width = facts["shape"]
    frames = f"{facts['frames']} frames of " if facts["frames"] else ""
    table = Table(title=f"{facts['name']}: {frames}{channels} x {height} x {width}", title_justify="left")
    for heading in ("split", "pictures", "classes", "fewest", "most", "mean", "deviation", "digest"):
        table.add_column(heading, justify="left" if heading in ("split", "digest") else "right")
    for split, found in facts["statistics"].items():
        counts = found["classes"].values()
        table.add_row(
            split,
            f"{found['images']:,}",
            *([str(len(counts)), f"{min(counts):,}", f"{max(counts):,}"] if counts else ["", "", ""]),
            *(" ".join(f"{number:.1f}" for number in found[key]) for key in ("mean", "deviation")),
            facts["splits"][split][:8],
        )
    return table


if __name__ == "__main__":
    main()
