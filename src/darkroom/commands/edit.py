"""``darkroom edit``: repair, enlarge, restyle and move what pictures show, with a trained run."""

import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from darkroom import paths
from darkroom.config.command import command
from darkroom.config.nodes import Node
from darkroom.config.parts import build
from darkroom.config.spread import bare
from darkroom.config.typed import Typed, group_choice, typed_folder, typed_keys
from darkroom.editing.planning import Request
from darkroom.errors import UserError, printable, reason
from darkroom.operations import batch, known
from darkroom.operations.batch import Batch
from darkroom.operations.known import Known
from darkroom.operations.working import Failed, Masking, stage
from darkroom.tracking.store import Store

if TYPE_CHECKING:
    from darkroom.operations.operation import Edited, FileOperation, Learnt, Operation
    from darkroom.tracking.store import RunRecord

Kind = TypeVar("Kind")


def edit(config: Node) -> None:
    """Edit what the configuration says."""
    typed = {bare(key) for key in typed_keys()}
    folder = Path(said) if (said := typed_folder()) is not None else None
    if config["operation"] is None:
        if typed:
            names = ", ".join(known.names(folder))
            raise UserError(f"{', '.join(sorted(typed))} say nothing without operation=<one of {names}>.")
        print(known.overview(_store_if_any(), folder), end="")
        return
    operation = known.chosen(group_choice("operation"), config["operation"]["_target_"], folder)
    if unfit := sorted(typed - set(operation.listens)):
        own = ", ".join(operation.settings) or "what all take"
        raise UserError(f"{unfit[0]}= says nothing to operation={operation.name}, which takes {own}: leave it out.")
    if config["input"] is None:
        raise UserError(f"operation={operation.name} needs something to work on: type input=<file or folder>.")
    if operation.files:
        _files(config, operation)
    else:
        _sheet(config, operation)


def main() -> None:
    """Run ``darkroom edit …``; with ``--help`` say what can be done before the settings are listed."""
    command("edit", preface=_preface)(edit)()


def _preface(typed: Typed) -> str:
    """Return what is said before the settings: of all operations, or of the one that is typed."""
    name = next((word.partition("=")[2] for word in typed.overrides if word.startswith("operation=")), None)
    if name in known.names(typed.folder):
        return known.described(Known.of(name, typed.folder), _store_if_any())
    return known.overview(_store_if_any(), typed.folder)


def _store_if_any() -> Store | None:
    """Return the store, unless there are no runs yet: to list none, none has to be made."""
    if not os.environ.get("MLFLOW_TRACKING_URI") and not (paths.runs() / "mlflow.db").exists():
        return None
    return Store.open(paths.root())


def _files(config: Node, operation: Known) -> None:
    """Edit picture files."""
    asked = Batch(
        Request(**{key.name: config[key.name] for key in fields(Request)}),
        Masking(config["mask"], config["mask_invert"], config["mask_grow"], config["mask_feather"]),
        **{key.name: config[key.name] for key in fields(Batch) if key.name not in ("request", "masking")},
    )
    asked.check(operation.name, operation.masked)
    plan = asked.planned()

    def opened() -> "tuple[FileOperation, Learnt | None, RunRecord | None]":
        from darkroom.operations.operation import FileOperation

        made = _made(config["operation"], FileOperation)
        learnt, record = _learnt(made, config["checkpoint"])
        return made, learnt, record

    settings = {key: value for key, value in config["operation"].items() if key != "_target_"}
    batch.run(asked, plan, opened, operation.name, {**config, **settings, "operation": operation.name})


def _made(node: Node, kind: type[Kind]) -> Kind:
    """Build an operation.

    Raises:
        UserError: it is none of this kind.
    """
    made = build(node)
    if not isinstance(made, kind):
        raise UserError(f"operation._target_ is '{node['_target_']}', which is no {kind.__name__} of this lab.")
    return made


def _learnt(operation: "Operation", reference: str | None) -> "tuple[Learnt | None, RunRecord | None]":
    """Return the run that an operation is done with, in use and as recorded; None where none is needed.

    Where none is named it is the newest that can do it, and said so.

    Raises:
        UserError: there is no such run, or it cannot do what is asked.
    """
    from darkroom import lab
    from darkroom.operations.operation import Learnt
    from darkroom.reporting import summary
    from darkroom.tracking import checkpoints

    if operation.needs is None:
        if reference is not None:
            raise UserError(
                f"checkpoint={reference} says nothing to operation={operation.name} as it is set here, which needs no"
                " run: leave it out."
            )
        return None, None
    store = Store.open(paths.root())
    record: RunRecord | None
    if reference is None:
        found = known.newest(operation.needs, operation.like, store)
        if found is None:
            raise UserError(
                f"operation={operation.name} needs a run that has learnt it, and there is none yet: type darkroom train"
                f" experiment={operation.train}, or name one with checkpoint=<run or .ckpt file>."
            )
        path, record = found
        summary.say(f"{record.short_id} {record.name} is used, the newest run that fits.")
        reference = record.short_id
    else:
        path = checkpoints.locate(reference, store)
        run_id = lab.run_id_of(path)
        record = store.known(run_id) if run_id else None
    learnt = Learnt(*lab.restore(path), reference)
    operation.check(learnt)
    return learnt, record


def _sheet(config: Node, operation: Known) -> None:
    """Make one sheet or film of one input."""
    source = Path(config["input"]).expanduser()
    if not source.exists():
        raise UserError(f"input={config['input']} does not exist: name a picture, a film or a folder of frames.")
    output = Path(config["output"] or f"edited{operation.ending}").expanduser()
    _check_output(output, source)

    from darkroom.operations.operation import SheetOperation
    from darkroom.reporting import summary

    made = _made(config["operation"], SheetOperation)
    learnt, _ = _learnt(made, config["checkpoint"])
    try:
        with stage(f"{source} could not be edited"):
            edited = made.edited(learnt, source)
        with stage(f"output={output} could not be written"):
            try:
                _write(edited, output)
            except OSError as error:
                place = printable(f"output={output} cannot be written ({reason(error)})")
                raise UserError(f"{place}: name another place.") from error
    except Failed as error:
        summary.say(f"darkroom edit: {error}")
        sys.exit(1)
    summary.say(printable(f"{edited.sentence} {summary.shown(Path(os.path.realpath(output)))}"))


def _check_output(output: Path, source: Path) -> None:
    """Refuse what would overwrite or cannot be, before the model is loaded."""
    suffix = output.suffix.lower()
    if suffix not in ("", ".png", ".gif"):
        raise UserError(f"output={output} has the ending '{suffix}': use a .gif, a .png sheet or a folder.")
    if output.exists() and output.resolve() == source.resolve():
        raise UserError(f"output={output} is the input itself, which would be lost: name another place.")
    if suffix and output.is_dir():
        raise UserError(f"output={output} is a folder: name one without an ending.")
    if not suffix and output.exists() and (output.is_file() or any(output.iterdir())):
        raise UserError(f"output={output} is there already: name a new folder, a .png sheet or a .gif.")


def _write(edited: "Edited", output: Path) -> None:
    """Write a film, a sheet, or every picture by itself."""
    import numpy as np

    from darkroom.images import save_gif, save_png, sheet, to_uint8

    suffix = output.suffix.lower()
    if suffix == ".gif":
        film = [sheet(frame[None], columns=1, gap=0, least=160) for frame in to_uint8(edited.film)]
        save_gif(output, np.stack(film))
    elif suffix == ".png":
        page = edited.page
        save_png(output, sheet(to_uint8(edited.images), columns=edited.columns) if page is None else page)
    else:
        for index, image in enumerate(to_uint8(edited.film)):
            save_png(output / f"{index:04d}.png", image)


if __name__ == "__main__":
    main()
