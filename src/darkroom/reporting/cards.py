"""What the page says of one run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from darkroom.reporting.album import Album
from darkroom.reporting.boards import family, judge
from darkroom.reporting.tables import COST_WORDS, ill
from darkroom.reporting.told import Told
from darkroom.reporting.words import amount, number
from darkroom.tracking import tag
from darkroom.tracking.comparison import Row
from darkroom.tracking.store import RunRecord

_ENVIRONMENT = ("cpu", "threads", "gpus", "python")  # of environment.json
_NUMBERED = 60  # of more runs than that nobody looks at every number

Pairs = Sequence[tuple[str, object]]


@dataclass(frozen=True)
class Card:
    """A run: where it stands, how it ended, its pictures, what it was made with, and how to make it again.

    ``words`` are what the filter finds it by; ``alone`` says that it is made again from its own record.
    """

    run_id: str
    name: str
    words: str
    about: Sequence[str]
    badges: Sequence[tuple[str, str]]
    reason: str
    album: Album
    facts: Pairs
    numbers: Pairs
    lines: Sequence[str]
    alone: bool


def card(row: Row, told: Mapping[str, Told], album: Album, standing: str = "", settings: Sequence[str] = ()) -> Card:
    """Return the card of a run, which its ``settings`` are looked for by."""
    record = told[row.run_id].record
    words = " ".join([row.run_name, row.experiment, row.run_id, *(row.params.get(name, "") for name in settings)])
    broken = row.status in ("FAILED", "KILLED")
    state = [] if row.status == "FINISHED" else [(row.status.lower(), "bad" if broken else "plain")]
    # A fork or a set of weights comes from another run, which reproduce asks for by itself.
    alone = not row.lineage.keys() - {"reproduces"}
    return Card(
        row.run_id,
        row.run_name,
        words.lower(),
        [part for part in (standing, family(row), row.experiment) if part],
        [*state, *([(row.health, "bad" if ill(row.health) else "good")] if row.health else [])],
        record.tags.get(tag.ENDED, "") if broken else "",
        album,
        _facts(row, told),
        _numbers(row) if len(told) <= _NUMBERED else [],
        _lines(row, record, alone),
        alone,
    )


def _facts(row: Row, told: Mapping[str, Told]) -> Pairs:
    own = told[row.run_id]
    record = own.record
    facts = [("run", row.run_id), ("status", row.status.lower())]
    if ended := record.tags.get(tag.ENDED):
        facts.append(("ended", ended))
    facts.append(("started", record.started.strftime("%Y-%m-%d %H:%M UTC")))
    if row.health:
        facts.append(("health", row.health))
    costs = {word: row.metrics.get(f"cost/{name}") for name, (word, _) in COST_WORDS.items()}
    facts += [(word, amount(value)) for word, value in costs.items() if value is not None]
    if commit := record.tags.get(tag.GIT_COMMIT):
        dirty = record.tags.get(tag.GIT_DIRTY) == "true"
        facts.append(("commit", commit[:12] + (", with changes (git.diff in its folder)" if dirty else "")))
    data, protocol = own.data, row.protocol
    if not data and "data_digest" in protocol:
        data = {str(protocol["split"]): (str(protocol.get("data", "")), str(protocol["data_digest"]))}
    for split, (name, digest) in sorted(data.items()):
        facts.append((f"data, {split}" if split else "data", f"{name} {digest[:12]}"))
    if judge(row):
        facts.append(("judge", judge(row)))
    for word, origin in row.lineage.items():
        named = told[origin].record.name if origin in told else ""
        facts.append((word, f"{origin[:8]} {named}".strip()))
    if drift := record.tags.get(tag.DRIFT):
        changed = json.loads(drift)
        facts.append(("changed on the way", ", ".join(f"{k}: {a} to {b}" for k, (a, b) in changed.items())))
    facts += [(name, _plain(own.environment[name])) for name in _ENVIRONMENT if own.environment.get(name)]
    packages = own.environment.get("packages", {})
    if "torch" in packages:
        facts.append(("torch", packages["torch"]))
    return facts


def _numbers(row: Row) -> Pairs:
    """Return everything that was measured of a run."""
    split = row.objective[0].partition("/")[0] if row.objective else "test"
    return [
        (name, number(value))
        for name, value in row.metrics.items()
        if name.partition("/")[0] in (split, "latents", "fitted") and name not in row.references
    ]


def _lines(row: Row, record: RunRecord, alone: bool) -> list[str]:
    """Return what to type for the run once more."""
    lines = []
    if commit := record.tags.get(tag.GIT_COMMIT):
        lines.append(f"git checkout {commit[:12]}")
        if record.tags.get(tag.GIT_DIRTY) == "true":
            lines.append(f"git apply mlruns/{record.folder.parent.parent.name}/{row.run_id}/artifacts/git.diff")
    if command := record.tags.get(tag.COMMAND):
        lines.append(command)
    elif not alone:
        lines.append(f"darkroom train fork={row.run_id[:8]}")
    return lines


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
