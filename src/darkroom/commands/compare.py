"""``darkroom compare``: put runs side by side."""

import sys
from pathlib import Path

from darkroom import paths
from darkroom.config.command import command
from darkroom.config.nodes import Node
from darkroom.errors import UserError
from darkroom.tracking.store import Store

_SHOWN = 20  # runs in a table when none are named


@command("compare")
def main(config: Node) -> None:
    """Print or write the comparison."""
    if config["format"] == "html":
        raise UserError("format=html is a page, and pages are made by another command: type darkroom report.")
    if config["format"] == "table" and config["output"] is not None:
        raise UserError(
            f"output={config['output']} wants data or a page: type format=json, or darkroom report for a page."
        )
    if config["output"] is not None:
        paths.check_place("output", Path(config["output"]).expanduser())
    store = Store.open(paths.root(), reading=True)
    store.reap()
    if config["runs"]:
        found = [store.find(reference, experiment=config["within"]) for reference in config["runs"]]
        parts = [part for record in found for part in store.parts(record) or [record]]
        records = list({record.run_id: record for record in parts}.values())
    else:
        records = store.runs(config["within"], limit=None if config["format"] == "json" else _SHOWN)

    from darkroom.metrics.protocol import noted
    from darkroom.tracking import comparison

    compared = comparison.compare(records, noted)
    if config["format"] == "table":
        if not records:
            raise UserError("There are no runs yet. Try: darkroom train")
        from rich.console import Console

        console = Console()
        if not console.is_terminal:
            console = Console(width=10_000)  # a file or a pipe takes lines of any length
        console.print(compared.table())
        return
    if config["output"] is None:
        print(compared.json())
        return
    from darkroom import files

    files.write(Path(config["output"]).expanduser(), compared.json().encode())
    print(f"written to {config['output']}", file=sys.stderr)


if __name__ == "__main__":
    main()
