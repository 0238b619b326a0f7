"""``darkroom dashboard``: open the runs in the browser, with views that put families side by side."""

import os
import socket
import sys
from typing import TYPE_CHECKING

from darkroom import paths
from darkroom.config.command import command
from darkroom.config.nodes import Node
from darkroom.errors import UserError
from darkroom.tracking.store import Store

if TYPE_CHECKING:
    from darkroom.reporting.views import View


@command("dashboard")
def main(config: Node) -> None:
    """Save the views, print their addresses, and become MLflow's server."""
    store = Store.open(paths.root(), reading=True)
    if store.database is not None and not store.database.exists():
        raise UserError("There are no runs yet. Try: darkroom train")
    store.reap()
    server = store.shown.rstrip("/") if store.remote else f"http://127.0.0.1:{config['port']}"
    serves = config["serve"] and not store.remote
    if serves and _taken(config["port"]):
        raise UserError(f"port={config['port']} is taken, perhaps by a dashboard that is open: type port=5001.")

    from rich.console import Console

    from darkroom.reporting.views import views

    made = views(store.runs())
    if not store.read_only:
        _save(store, made)
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"Every run: {server}", markup=False)
    for view in made:
        console.print(f"{view.name}: {view.address(server)}", markup=False)
    if serves:
        sys.stdout.flush()
        # One worker and no job runner: seconds and a few hundred MB less.
        os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        os.environ["MLFLOW_BACKEND_STORE_URI"] = store.uri  # which may hold a password: arguments are for all to see
        options = ["--host", "127.0.0.1", "--port", str(config["port"]), "--workers", "1"]
        os.execv(sys.executable, [sys.executable, "-m", "mlflow", "ui", *options])


def _save(store: Store, made: "list[View]") -> None:
    """Save the views in the store, those that it does not hold already."""
    with store.plain_errors():
        known = {found.experiment_id: dict(found.tags) for found in store.client.search_experiments()}
        for view in made:
            for experiment in view.experiments:
                for name, value in view.tags.items():
                    if known.get(experiment, {}).get(name) != value:
                        store.client.set_experiment_tag(experiment, name, value)


def _taken(port: int) -> bool:
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


if __name__ == "__main__":
    main()
