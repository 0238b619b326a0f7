"""Trials that train nothing and are otherwise real: processes with a run, its lock, a checkpoint and a resumption."""

import os
import sys
import time

ENGINE = __name__


def launch(command, environment, output):
    """Start this file in place of ``python -m darkroom train``."""
    from darkroom.sweeping import launching

    return launching.launch([command[0], __file__, *command[4:]], environment, output)


def sweep(arguments):
    """Type ``darkroom sweep`` with this engine."""
    from darkroom.commands import sweep as command
    from darkroom.sweeping import launching

    launching.ENGINES["processes"] = "actors"
    sys.argv = ["darkroom", *arguments]
    command.main()


def act(line, steps=20, seconds=0.1):
    from darkroom import paths
    from darkroom.config import recorded
    from darkroom.config.composing import compose
    from darkroom.tracking import run, tag
    from darkroom.tracking.store import Store

    store = Store.open(paths.root())
    settings = dict(part.split("=", 1) for part in line)
    if "resume" in settings:
        opening = run.resume(store, store.run(settings["resume"]), {}, {}, system_metrics=None)
    else:
        digest = recorded.digest(compose("train", line))
        lr, parent = settings["model.optimizer.lr"], os.environ["DARKROOM_GRID_PARENT"]
        experiment = settings["tracking.experiment"]
        opening = run.start(store, experiment, f"lr={lr}", {}, {"lr": lr}, {tag.POINT: digest}, parent, None)
    with opening as opened:
        state = opened.folder / "checkpoints" / "last.ckpt"
        state.parent.mkdir(parents=True, exist_ok=True)
        for step in range(int(state.read_text()) if state.exists() else 0, steps):
            time.sleep(seconds)
            partial = state.with_suffix(".partial")
            partial.write_text(str(step + 1))
            partial.replace(state)
        opened.log_metrics({"val/score": 1.0, "cost/seconds": steps * seconds}, step=steps)


if __name__ == "__main__":
    if sys.argv[1] == "sweep":
        sys.modules["actors"] = sys.modules["__main__"]
        sweep(sys.argv[2:])
    else:
        act(sys.argv[1:])
