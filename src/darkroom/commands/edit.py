"""``darkroom edit``: repair, enlarge, restyle and move what pictures show, with a trained run."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom import paths
from darkroom.config.command import command
from darkroom.config.nodes import Node
from darkroom.config.typed import typed_keys
from darkroom.errors import UserError, did_you_mean, printable, reason
from darkroom.operations import table
from darkroom.operations.table import OPERATIONS, Operation
from darkroom.operations.working import Failed, stage
from darkroom.tracking.store import Store

if TYPE_CHECKING:
    from darkroom.operations.edited import Edited


def edit(config: Node) -> None:
    """Edit what the configuration says."""
    name = config["operation"]
    if name is None:
        if typed := typed_keys():
            raise UserError(
                f"{', '.join(sorted(typed))} say nothing without operation=<one of {', '.join(OPERATIONS)}>."
            )
        print(table.overview(_store_if_any()), end="")
        return
    operation = _chosen(name)
    if config["input"] is None:
        raise UserError(f"operation={name} needs something to work on: type input=<file or folder>.")
    if operation.files:
        from darkroom.commands import edit_files

        edit_files.run(config, name, operation)
    else:
        _one(config, name, operation)


def main() -> None:
    """Run ``darkroom edit …``; with ``--help`` say what can be done before the settings are listed."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(table.overview(_store_if_any()))
    command("edit")(edit)()


def _store_if_any() -> Store | None:
    """Return the store, unless there are no runs yet: to list none, none has to be made."""
    if not os.environ.get("MLFLOW_TRACKING_URI") and not (paths.runs() / "mlflow.db").exists():
        return None
    return Store.open(paths.root())


def _chosen(name: str) -> Operation:
    """Return the operation, if what was typed says something to it."""
    if name not in OPERATIONS:
        known = ", ".join(OPERATIONS)
        raise UserError(f"operation={name} is not known{did_you_mean(str(name), OPERATIONS)}: type one of {known}.")
    operation = OPERATIONS[name]
    every = {key for each in OPERATIONS.values() for key in each.listens}
    if unfit := sorted((typed_keys() & every) - set(operation.listens)):
        own = ", ".join(operation.keys) or "what all listen to"
        raise UserError(f"{unfit[0]}= says nothing to operation={name}, which listens to {own}: leave it out.")
    return operation


def _one(config: Node, name: str, operation: Operation) -> None:
    """Make one sheet or film of one input."""
    source = Path(config["input"]).expanduser()
    if not source.exists():
        raise UserError(f"input={config['input']} does not exist: name a picture, a film or a folder of frames.")
    output = Path(config["output"] or f"edited{operation.ending}").expanduser()
    _check_output(output, source)

    from darkroom.commands.edit_files import restored
    from darkroom.reporting import summary

    model = None
    if operation.fits is not None:
        config, model, _ = restored(config, name)
    try:
        with stage(f"{source} could not be edited"):
            edited = operation.make()(config, model, source)
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
