"""Which operations there are, what each takes, and which runs can do it, without importing any of them.

There is one for each file ``conf/operation/<name>.yaml``, and for each in a folder of one's own. What is known of it
stands in that file and in the body of the class that it names (`darkroom.operations.operation`).
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from darkroom import documents, paths
from darkroom.config.groups import file_of, options
from darkroom.config.parts import located
from darkroom.errors import UserError
from darkroom.models.abilities import methods
from darkroom.signatures import TargetError, attribute, members, reference, signature
from darkroom.tracking.store import RunRecord, Store

Params = Mapping[str, str]  # of a run, by dotted names: "model._target_"
BEST = "checkpoints/best.ckpt"

# What every operation on picture files takes; `darkroom edit` itself sees to all of it.
OF_FILES = (
    *("strength", "tile", "self_ensemble", "device", "format", "quality", "suffix", "overwrite", "skip_existing"),
    *("reference", "self_test", "compare", "report", "track", "pictures", "seed"),
)
OF_MASKS = ("mask", "mask_invert", "mask_grow", "mask_feather")
OF_ALL = ("operation", "input", "output", "trust", "paths.data", "local")


@dataclass(frozen=True)
class Known:
    """What is known of an operation before it is imported: its name, its file, its class, and what that says."""

    name: str
    file: Path
    target: str
    settings: tuple[str, ...]
    does: str
    example: str
    train: str
    needs: str | None  # the ability, as package.module.Name
    like: tuple[tuple[object, ...], ...]
    optional: bool
    files: bool
    masked: bool
    ending: str

    @classmethod
    def of(cls, name: str, folder: Path | None = None) -> "Known":
        """Read what is known of the operation with this name, a person's own ``folder`` of configurations first.

        Raises:
            UserError: its file cannot be read, or names no class that there is.
        """
        file = file_of("operation", name, _folders(folder))
        content = documents.read_yaml(file)
        target = str(content.get("_target_", ""))
        if "." not in target:
            raise UserError(f"{file} says no _target_, the class that it is to be: write one.")
        said = {each: attribute(target, each) for each in _SAID}
        plain = {"does": "", "example": "", "train": "", "like": (), "ending": ".png"}
        told = {each: plain.get(each, False) if value is None else value for each, value in said.items()}
        try:
            takes = signature(target).parameters
        except TargetError as error:
            raise UserError(f"{file}: _target_ is '{target}', but {error}.") from None
        settings = (*(key for key in content if key in takes), *(key for key in takes if key not in content))
        return cls(name, file, target, settings, needs=reference(target, "needs"), **told)  # type: ignore[arg-type]

    @property
    def listens(self) -> tuple[str, ...]:
        """Every key that says something to it."""
        shared = (*OF_MASKS, *OF_FILES) if self.files else ()
        checkpoint = ("checkpoint",) if self.needs is not None else ()
        return (*dict.fromkeys((*self.settings, *checkpoint, *shared)), *OF_ALL)

    def fits(self, params: Params) -> bool:
        """Say whether a run with these parameters can do it."""
        return self.needs is not None and can(params, located(self.needs), self.like)


_SAID = tuple(each.name for each in fields(Known) if each.name not in ("name", "file", "target", "settings", "needs"))


def can(params: Params, needs: type, like: Sequence[Sequence[object]]) -> bool:
    """Say whether a run with these parameters is of a model with an ability, and its settings say such things."""
    has = methods(needs) <= members(params.get("model._target_", ""))
    return has and all(_said(params, name) in (accepted or (None,)) for name, *accepted in like)


def _said(params: Params, name: object) -> object:
    """Return a setting of a run's model, or what its class, or that of its part ``part.name``, says of itself."""
    part, _, last = f"model.{name}".rpartition(".")
    return params.get(f"{part}.{last}", attribute(params.get(f"{part}._target_", ""), last))


def known(folder: Path | None = None) -> dict[str, Known]:
    """Return all operations by their names, those of a person's own folder of configurations too."""
    return {name: Known.of(name, folder) for name in names(folder)}


def chosen(name: str | None, target: str, folder: Path | None = None) -> Known:
    """Return an operation by the name that was typed; where none was, as in Python, the first of this class."""
    if name is not None:
        return Known.of(name, folder)
    return next(operation for operation in known(folder).values() if operation.target == target)


def names(folder: Path | None = None) -> list[str]:
    """Return the names of all operations."""
    return options("operation", _folders(folder))


def _folders(own: Path | None) -> list[Path]:
    return [*([own] if own else []), paths.conf()]


def newest(needs: type, like: Sequence[Sequence[object]], store: Store) -> tuple[Path, RunRecord] | None:
    """Return the checkpoint of the newest run that can do something, and the run."""
    there = store.database is None or store.database.exists()  # to find none, no store has to be made
    for record in store.runs() if there else []:
        if can(record.params, needs, like) and (path := store.fetch(record, BEST)) is not None:
            return path, record
    return None


def overview(store: Store | None, folder: Path | None = None) -> str:
    """Return what can be done, what each operation takes, and, given a store, which runs can do it."""
    records = store.runs() if store is not None else []
    lines = ["darkroom edit operation=<name> input=<pictures> output=<place>", ""]
    for operation in known(folder).values():
        lines += _listed(operation, records, store)
    lines += [
        "",
        "Operations on picture files also listen to " + ", ".join(OF_MASKS) + ",",
        "  " + ", ".join(OF_FILES[:9]) + ",",
        "  " + ", ".join(OF_FILES[9:]) + ".",
        "What each of its settings means an operation says behind --help.",
        "",
    ]
    return "\n".join(lines)


def described(operation: Known, store: Store | None) -> str:
    """Return what one operation does, with its settings as its file has them, and which runs can do it."""
    text = documents.check_yaml(operation.file)
    settings = [line for line in text.splitlines() if not line.startswith(("#", "_target_", "defaults", "  - "))]
    lines = _listed(operation, store.runs() if store is not None else [], store)
    return "\n".join([*lines, "", *(f"  {line}" for line in settings if line), ""])


def _listed(operation: Known, records: list[RunRecord], store: Store | None) -> list[str]:
    lines = [f"  {operation.name:<12}{operation.does}"]
    own = [*operation.settings, *(OF_MASKS if operation.masked else ())]
    if own:
        said = f"takes {', '.join(own)}"
        lines += textwrap.wrap(said, 98, initial_indent=" " * 14, subsequent_indent=" " * 16)
    fitting = [
        record
        for record in records
        if store is not None and operation.fits(record.params) and store.fetch(record, BEST) is not None
    ]
    if fitting:
        named = ", ".join(f"{record.short_id} {record.name}" for record in fitting[:3])
        more = f" and {len(fitting) - 3} more" if len(fitting) > 3 else ""
        lines.append(f"              runs: {named}{more}")
    elif operation.needs is not None and not operation.optional:
        lines.append(f"              train experiment={operation.train}")
    return [*lines, f"              darkroom edit {operation.example}"]
