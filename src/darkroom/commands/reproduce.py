"""``darkroom reproduce``: make a run again and say whether it came out the same."""

import sys
from typing import Any

from darkroom import documents, paths
from darkroom.config.checking import check
from darkroom.config.command import command
from darkroom.config.composing import compose
from darkroom.config.nodes import Node
from darkroom.config.recorded import admitted, check_whole, migrate
from darkroom.errors import UserError
from darkroom.tracking.store import RunRecord, Store


@command("reproduce")
def main(config: Node) -> None:
    """Train from the record, compare, and exit with 1 when a metric differs."""
    store = Store.open(paths.root())
    record = store.find(config["run"])
    recorded = _recorded(store, record)
    if config["paths"]["data"]:
        recorded["paths"] = {**recorded["paths"], "data": config["paths"]["data"]}
    pace = _read(store, record, "pace.json", list[tuple[float, float]])
    before = _measured(store, record)
    if "test" not in before:
        raise UserError(
            f"Run {record.name} ({record.status}) has no metrics.json to compare with: name a finished run."
        )

    from darkroom.commands.train import train
    from darkroom.metrics import protocol
    from darkroom.reporting import summary
    from darkroom.tracking import tag

    for warning in _circumstances(store, record):
        summary.say(f"Note: {warning}")
    _check_data(record, recorded, before)
    recorded["name"] = f"{record.name} again"
    run_id = train(recorded, pace=pace, tags={tag.REPRODUCES: record.run_id})
    if run_id is None:
        return
    after = {"test": {"values": {}, "protocol": {}}} | _measured(store, store.run(run_id))
    for sentence in protocol.differences(before["test"]["protocol"], after["test"]["protocol"]):
        summary.say(f"Note: {sentence}")
    same = _print_comparison(record, before["test"]["values"], after["test"]["values"])
    if not same:
        sys.exit(1)


def _recorded(store: Store, record: RunRecord) -> Node:
    """Return the configuration the run was made with."""
    path = store.fetch(record, "config.yaml")
    if path is None:
        raise UserError(f"Run {record.name} has no config.yaml, so what it did is not known: name another run.")
    recorded = admitted(documents.read_yaml(path), str(path))
    check_whole(recorded, str(path))
    if recorded.get("init") or (record.folder / "config.resumed.yaml").exists():
        raise UserError(
            f"Run {record.name} did not start from nothing or changed on the way: reproduce the run it came from, and"
            " repeat the steps that followed."
        )
    recorded = migrate(recorded, compose("train", []))
    try:
        check(recorded, "train")
    except UserError as error:
        raise UserError(f"Run {record.name} cannot be made again from its {path}: {error}") from error
    return recorded


def _measured(store: Store, record: RunRecord) -> dict[str, dict[str, Any]]:
    from darkroom.tracking.comparison import measured

    path = store.fetch(record, "metrics.json")
    return measured(path) if path is not None else {}


def _read(store: Store, record: RunRecord, name: str, kind: Any = dict[str, Any]) -> Any:
    path = store.fetch(record, name)
    return documents.read_json(path, kind) if path is not None else None


def _circumstances(store: Store, record: RunRecord) -> list[str]:
    """Return what is different now from when the run was made, and may change its numbers."""
    from darkroom.tracking import environment, tag

    found: list[str] = []
    state = environment.git_state(paths.PACKAGE, store.root)
    commit = record.tags.get(tag.GIT_COMMIT)
    if commit and state and state.commit != commit:
        found.append(f"the run was made at commit {commit[:8]}, and this is {state.commit[:8]}")
    if record.tags.get(tag.GIT_DIRTY) == "true":
        found.append("the run was made from files that were not committed; they are in its git.diff")
    before, now = _read(store, record, "environment.json", environment.Described) or {}, environment.describe()
    for key, value in before.items():
        if key in now and now[key] != value and key != "packages":
            found.append(f"{key} was {value} and is {now[key]}")
    packages, current = before.get("packages", {}), now.get("packages", {})
    changed = [f"{name} {old} -> {current.get(name)}" for name, old in packages.items() if current.get(name) != old]
    if changed:
        found.append(f"packages changed: {', '.join(changed[:8])}{' …' if len(changed) > 8 else ''}")
    return found


def _check_data(record: RunRecord, recorded: Node, before: dict[str, Any]) -> None:
    """Refuse to compare numbers of other data."""
    from darkroom import lab
    from darkroom.tracking import checkpoints

    data = lab.open_recorded(recorded, None)  # all that training opens again is at hand then
    checkpoint = record.folder / "checkpoints" / "last.ckpt"
    if not checkpoint.exists():
        return
    expected = lab.Description.of(checkpoints.load(checkpoint), checkpoint).data_digest
    if data.digest != expected:
        raise UserError(
            f"The data are not those of run {record.name} (digest {data.digest[:8]}, recorded {expected[:8]}): point"
            " paths.data to the same files."
        )


def _print_comparison(record: RunRecord, before: dict[str, float], after: dict[str, float]) -> bool:
    """Print metric by metric what came out, and return whether all are equal to the bit."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{record.name}, made again", title_justify="left")
    for column in ("metric", "before", "again", "difference"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    same = True
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        equal = old == new or (old != old and new != new)
        same = same and equal
        gap = "same" if equal else f"{new - old:+.3g}" if old is not None and new is not None else "missing"
        table.add_row(name, *(f"{value:.6g}" if value is not None else "" for value in (old, new)), gap)
    console = Console()
    console.print(table)
    console.print("The same to the bit." if same else "Not the same.", highlight=False)
    return same


if __name__ == "__main__":
    main()
