"""``darkroom judge``: teach or freeze the network that scores are seen through, and certify it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom import advice, paths
from darkroom.config.command import command
from darkroom.config.nodes import Node
from darkroom.errors import UserError
from darkroom.tracking.store import Store

if TYPE_CHECKING:
    from rich.table import Table

    from darkroom.data.contract import Progress
    from darkroom.judges.certificate import Certificate


@command("judge")
def main(config: Node) -> None:
    """Make the judge that the configuration asks for, and say how it stood the test."""
    if (config["features"] is None) == (config["data"] is None):
        raise UserError(
            "Give one thing to make a judge of: data=<data> to teach one, or features=<a classifier's run>."
        )
    folder = Path(config["output"]).expanduser() if config["output"] else paths.cache() / "judges"
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output={folder} is a file: name a folder for the judge and the picture of its certificate.")
    paths.check_place("output", folder)

    from rich.console import Console

    from darkroom import judging, lab
    from darkroom.images import save_png
    from darkroom.judges.certifying import certify
    from darkroom.judges.exhibits import draw_certificate
    from darkroom.judges.teaching import train_judge
    from darkroom.reporting import summary
    from darkroom.tracking import checkpoints

    if config["features"] is not None:
        path = checkpoints.locate(config["features"], Store.open(paths.root()))
        with _bar("freezing") as progress:
            judge, data = judging.freeze_run(path, config["paths"]["data"], progress)
    else:
        data = lab.open_data(config["data"], config["paths"]["data"])
        with _bar("teaching") as progress:
            judge = train_judge(data, seed=config["seed"], progress=progress)
    with _bar("certifying") as progress:
        judge.certificate = certify(judge, data, seed=config["seed"], progress=progress)
    kept = judge.save(folder)
    save_png(kept.with_suffix(".png"), draw_certificate(judge, judge.certificate, data))

    console = Console()
    console.print(certificate_table(judge.certificate, f"{judge.name}-{judge.hash[:8]}"))
    console.print(
        f"{judge.architecture} taught {judge.training_record.taught},"
        f" {judge.training_record.val_accuracy:.2%} right on val;"
        f" {judge.certificate.images} pictures of {data.name} {judge.certificate.split}, seed {judge.certificate.seed}",
        style="dim",
        highlight=False,
        soft_wrap=True,
    )
    for kind, ranking in judge.certificate.rankings.items():
        strengths = ", ".join(f"{strength:g}" for strength in ranking.strengths)
        console.print(f"{kind}: {strengths} ({ranking.unit})", style="dim", highlight=False, soft_wrap=True)
    verdict = "passed" if judge.certificate.passed else f"failed: {judge.certificate.reasons}"
    lines = [
        f"certificate {verdict}",
        f"judge       {summary.shown(kept.resolve())}  ({kept.stat().st_size / 1000:.0f} kB)",
        f"picture     {summary.shown(kept.with_suffix('.png').resolve())}",
        f"to use it   {advice.line('train', f'metrics.judge={summary.shown(kept.resolve())}')}",
    ]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def certificate_table(certificate: "Certificate", title: str) -> "Table":
    """Return a certificate as a table: a column a kind of damage."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for kind, ranking in certificate.rankings.items():
        table.add_column(kind, justify="right", style="red" if ranking.failures else None)
    rankings = list(certificate.rankings.values())
    rows: list[tuple[str, list[str]]] = [
        ("distance ranks it", [f"{ranking.spearman:.4f}" for ranking in rankings]),
        ("  pictures with 0.95", [f"{ranking.ranked:.1%}" for ranking in rankings]),
        ("mean features rank it", [f"{ranking.mean_feature_spearman:.4f}" for ranking in rankings]),
        ("  features of one", [f"{ranking.feature_spearman:.4f}" for ranking in rankings]),
    ]
    count = max(len(ranking.strengths) for ranking in rankings)
    for place in range(count):
        word = {0: "FID, weakest", count - 1: "     strongest"}.get(place, "")
        rows.append((word, [f"{ranking.fids[place]:.3g}" for ranking in rankings]))
    for number, (name, cells) in enumerate(rows):
        table.add_row(name, *cells, end_section=number == 3)
    return table


@contextmanager
def _bar(word: str) -> Iterator["Progress"]:
    """Show how far it is on a terminal, a line a quarter elsewhere."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    quarters = {0}

    with Bar(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(word, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if not console.is_terminal and (quarter := 4 * done // total) not in quarters:
                quarters.add(quarter)
                console.print(f"{word} {done / total:4.0%}  {done:,} pictures", highlight=False, soft_wrap=True)

        yield show


if __name__ == "__main__":
    main()
