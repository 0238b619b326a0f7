"""``darkroom report``: one page from runs, to be read, kept or sent."""

from pathlib import Path
from typing import TYPE_CHECKING

from darkroom import documents, files, paths
from darkroom.config.command import command
from darkroom.config.nodes import Node
from darkroom.errors import UserError
from darkroom.tracking.store import RunRecord, Store

if TYPE_CHECKING:
    from darkroom.reporting.told import Told

_ASIDE = ("checkpoints", "images")  # what a server need not send: weights, and MLflow's own copies of pictures


@command("report")
def main(config: Node) -> None:
    """Write the page."""
    target = Path(config["output"]).expanduser()
    _check_output(target)
    store = Store.open(paths.root(), reading=True)
    store.reap()
    records = _chosen(store, config)
    if not records:
        raise UserError("There are no runs yet. Try: darkroom train")

    from darkroom.metrics.protocol import noted
    from darkroom.reporting import page, summary
    from darkroom.tracking import comparison

    told = [_told(store, record) for record in records]
    text = page.written(comparison.compare(records, noted), told, config["title"], config["megabytes"])
    try:
        files.write(target, text.encode())
    except OSError as error:
        raise UserError(f"output={target} cannot be written ({error.strerror}): name another place.") from error
    summary.say(f"{len(records)} run{'s' if len(records) != 1 else ''}, {len(text.encode()) / 1e6:.1f} MB: "
                f"{summary.shown(target.resolve())}")  # fmt: skip


def _check_output(target: Path) -> None:
    """Refuse to write over what is not a report, before anything is read."""
    from darkroom.reporting.page import is_report

    if target.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"output={target} is no page: name a file such as report.html.")
    if target.is_dir():
        raise UserError(f"output={target} is a folder: name a file in it, such as {target / 'report.html'}.")
    if target.exists() and not is_report(target):
        raise UserError(f"output={target} is there already and is no report: name another file, or move it away.")
    paths.check_place("output", target)


def _chosen(store: Store, config: Node) -> list[RunRecord]:
    """Return the runs that were named, with the points of those that hold a grid or a search; else the newest."""
    if not config["runs"]:
        return store.runs(config["within"], limit=config["limit"])
    named = [store.find(reference, experiment=config["within"]) for reference in config["runs"]]
    chosen = {record.run_id: record for record in named}
    for record in named:
        chosen |= {part.run_id: part for part in store.parts(record)}
    return list(chosen.values())


def _told(store: Store, record: RunRecord) -> "Told":
    from darkroom.reporting.told import Told, wanted
    from darkroom.tracking.environment import Described

    if store.remote:
        with store.plain_errors():
            names = [file.path for file in store.client.list_artifacts(record.run_id)]
        for name in names:
            if name not in _ASIDE:
                store.fetch(record, name)
    environment = record.folder / "environment.json"
    return Told(
        record,
        {name: store.curve(record.run_id, name) for name in wanted(record)},
        store.data(record),
        documents.read_json(environment, Described) if environment.is_file() else {},
    )


if __name__ == "__main__":
    main()
