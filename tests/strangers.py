"""Try what a stranger's file could make this lab do, and report what acted; test_trust runs this as a program.

The current folder is a project with the runs of `conftest.train_all`. Every attempt is a checkpoint, a run's folder, a
DVC result or a recorded configuration, read by the functions and commands that people read such files with. The last
line printed is a report in JSON.
"""

import contextlib
import io
import itertools
import json
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

import torch
import yaml

import darkroom
from darkroom import lab
from darkroom.errors import UserError
from darkroom.tracking.store import Store

SECRET = os.environ["CANARY"]
HERE = Path.cwd()
CANARY = HERE / "canary"
PRECIOUS = HERE / "precious"  # to be deleted
ELSEWHERE = Path(tempfile.mkdtemp()) / "elsewhere"  # to be written to
ALLOWED = tuple(
    str(Path(place).resolve()) for place in (HERE / "mlruns", os.environ["DARKROOM_CACHE"], "/dev", "/proc")
)
STARTING = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn")
REACHING = (
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.sendto",
    "urllib.Request",
    "webbrowser.open",
)

state = {"attempt": "", "armed": False}
acted: list[str] = []
unrefused: list[str] = []
attempts = 0


def watch(event, arguments):
    """Note everything that a process could do to the world while an attempt is made."""
    if not state["armed"]:
        return
    harm = event in STARTING or event in REACHING
    if event == "open" and isinstance(arguments[0], str) and isinstance(arguments[2], int):
        writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        harm = bool(writes) and not os.path.realpath(arguments[0]).startswith(ALLOWED)
    elif event == "os.mkdir" and str(arguments[0]) == ".":  # where Hydra runs a command, which is there
        harm = False
    elif event in ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "shutil.rmtree", "os.symlink"):
        harm = not os.path.realpath(str(arguments[0])).startswith(ALLOWED)
    if harm and not any(frame.name == "check_place" for frame in traceback.extract_stack()):  # a place that was typed
        acted.append(f"{state['attempt']}: {event} {str(arguments)[:200]}")


def attempt(name, function, must_refuse=True):
    """Make one attempt: it is refused with a sentence, does nothing and shows no secret."""
    global attempts
    attempts += 1
    state.update(attempt=name, armed=True)
    out = io.StringIO()
    outcome = ""
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            function()
    except UserError as error:
        outcome = str(error)
    except SystemExit as left:
        outcome = out.getvalue() if left.code == 2 else ""
    except Exception as error:
        outcome = "" if must_refuse else f"{type(error).__name__}: {error}"
        out.write(repr(error))
    finally:
        state["armed"] = False
    said = outcome + out.getvalue()
    because = (
        "asks for",
        "cannot be used",
        "records no ",
        "cannot be read",
        "is not in",
        "is not YAML",
        "aliases repeat",
    )
    if must_refuse and (not any(word in outcome for word in because) or "Traceback" in said):
        unrefused.append(f"{name}: {said[-300:]}")
    if SECRET in said:
        acted.append(f"{name}: the secret was shown")
    if CANARY.exists() or not PRECIOUS.exists() or ELSEWHERE.exists():
        acted.append(f"{name}: the canary, what was precious, or a folder elsewhere")
        for made in (CANARY, ELSEWHERE):
            shutil.rmtree(made) if made.is_dir() else made.unlink(missing_ok=True)
        PRECIOUS.write_text("precious")


def typed(line):
    """Type a line in this process."""
    import importlib

    from hydra.core.hydra_config import HydraConfig

    name, *arguments = line
    sys.argv = ["darkroom", *arguments]
    try:
        importlib.import_module(f"darkroom.commands.{name}").main()
    finally:
        HydraConfig.instance().cfg = None


def changed(node, path, value):
    first, _, rest = path.partition(".")
    return {**node, first: changed(node[first], rest, value) if rest else value}


def write(path, checkpoint, config):
    path.parent.mkdir(parents=True, exist_ok=True)
    described = {**checkpoint, "darkroom": {**checkpoint["darkroom"], "config": config}}
    torch.save({"darkroom_version": darkroom.__version__, **described}, path)
    return path


# What could be named, with what it would be given: every one of these acts when it is called.
ACTS = [
    ("os.system", {"command": f"touch {CANARY}"}),
    ("os.mkdir", {"path": str(CANARY)}),
    ("os.remove", {"path": str(PRECIOUS)}),
    ("posix.system", {"command": f"touch {CANARY}"}),
    ("subprocess.Popen", {"args": ["touch", str(CANARY)]}),
    ("subprocess.run", {"args": ["touch", str(CANARY)]}),
    ("builtins.exec", {"_args_": [f"open('{CANARY}', 'w')"]}),
    ("builtins.eval", {"_args_": [f"open('{CANARY}', 'w')"]}),
    ("builtins.open", {"file": str(CANARY), "mode": "w"}),
    ("pathlib.Path.touch", {"_args_": [str(CANARY)]}),
    ("shutil.rmtree", {"path": str(PRECIOUS)}),
    ("runpy.run_path", {"path_name": str(HERE / "evil.py")}),
    ("evil.Model", {}),
    ("evil.act", {}),
    ("hydra.utils.call", {"config": {"_target_": "os.system", "command": f"touch {CANARY}"}}),
    ("hydra.utils.get_method", {"path": "evil.act"}),
    ("functools.partial", {"_args_": [{"_target_": "hydra.utils.get_method", "path": "os.system"}]}),
    ("urllib.request.urlopen", {"url": "http://127.0.0.1:9/"}),
    ("socket.create_connection", {"address": ["127.0.0.1", 9]}),
    ("torch.load", {"f": str(HERE / "evil.pickle"), "weights_only": False}),
    ("torch.hub.load", {"repo_or_dir": str(HERE), "model": "act", "source": "local"}),
    ("torch.save", {"obj": 1, "f": str(CANARY)}),
    ("darkroom.files.write", {"path": {"_target_": "pathlib.Path", "_args_": [str(CANARY)]}, "content": ""}),
    ("darkroom.files.Path.unlink", {"_args_": [str(PRECIOUS)]}),
    ("darkroom.files.os.system", {"command": f"touch {CANARY}"}),
    ("darkroom.sweeping.launching.launch", {"line": ["true"]}),
    ("darkroom.sweeping.launching.subprocess.Popen", {"args": ["touch", str(CANARY)]}),
    ("darkroom.tracking.environment.subprocess.run", {"args": ["touch", str(CANARY)]}),
    ("darkroom.data.download.fetch", {"urls": ["http://127.0.0.1:9/"]}),
    ("darkroom.commands.train.main", {}),
    ("darkroom.networks.unet.torch.load", {"f": str(HERE / "evil.pickle"), "weights_only": False}),
    ("darkroom.judges.judge.Inception", {"weights": str(HERE / "evil.pickle")}),
    ("torch.nn.modules.module.torch.load", {"f": str(HERE / "evil.pickle"), "weights_only": False}),
    ("torch.nn.modules.module.torch.save", {"obj": 1, "f": str(CANARY)}),
    ("torch.optim.optimizer.torch.save", {"obj": 1, "f": str(CANARY)}),
    ("pytorch_lightning.trainer.trainer.os.mkdir", {"path": str(CANARY)}),
    ("pytorch_lightning.utilities.cloud_io.os.mkdir", {"path": str(CANARY)}),
    ("pytorch_lightning.loggers.CSVLogger", {"save_dir": str(ELSEWHERE)}),
    ("pytorch_lightning.profilers.SimpleProfiler", {"dirpath": str(ELSEWHERE), "filename": "x"}),
    ("pytorch_lightning.LightningModule.load_from_checkpoint", {"checkpoint_path": str(HERE / "evil.pickle")}),
]  # fmt: skip
SLOTS = [
    "model", "model.generator", "model.generator_optimizer", "model.schedule", "data", "data.source", "metrics",
    "trainer", "sentinel", "name", "model.latent_dim", "paths",
]  # fmt: skip
READ = ("${oc.env:CANARY}", "x${oc.env:CANARY}", "${oc.decode:${oc.env:CANARY}}", "${oc.create:${oc.env:CANARY}}")
LEAVES = ["name", "model.loss", "model.latent_dim", "model.generator._target_", "model.generator.width",
          "data.source._target_", "paths.data", "metrics.judge", "metrics.weights", "precision"]  # fmt: skip


def main():
    store = Store.open(HERE)
    runs = {record.name: record for record in store.runs()}
    painter, namer = runs["painter"], runs["namer"]
    sources = {record.name: (record.folder / "checkpoints" / "best.ckpt").read_bytes() for record in (painter, namer)}
    loaded = {
        name: torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        for name, content in sources.items()
    }
    checkpoint = loaded["painter"]
    config = checkpoint["darkroom"]["config"]
    PRECIOUS.write_text("precious")
    (HERE / "evil.py").write_text(f"open({str(CANARY)!r}, 'w')\ndef act(): ...\nclass Model: ...\n")
    (HERE / "evil.pickle").write_bytes(b"cposix\nsystem\n(S'touch " + str(CANARY).encode() + b"'\ntR.")
    sys.path.insert(0, str(HERE))
    inside = painter.folder / "checkpoints"
    result = HERE / "result"  # as `train output=` leaves it for DVC
    result.mkdir()
    (result / "run.json").write_text(json.dumps({"run_id": painter.run_id, "files": ["best.ckpt"]}))
    typed_out = io.StringIO()
    with contextlib.redirect_stdout(typed_out), contextlib.redirect_stderr(typed_out):
        for line in (["generate", "checkpoint=painter", "count=2", "output=drawn"], ["evaluate", "checkpoint=namer"]):
            with contextlib.suppress(SystemExit):
                typed(line)  # what is imported and cached by an honest run is not an act of a stranger's
    assert (HERE / "drawn").is_dir()
    sys.addaudithook(watch)

    # Every act in every slot, by turns from elsewhere, under mlruns/, and in the folder of a DVC result.
    places = itertools.cycle([HERE / "strangers" / "x.ckpt", inside / "x.ckpt", result / "best.ckpt"])
    readers = itertools.cycle([lab.restore, lambda path: darkroom.load(str(path)), lambda path: darkroom.load(path)])
    forms = itertools.cycle(
        [lambda n: n, lambda n: {**n, "_partial_": True}, lambda n: [n], lambda n: (n,), lambda n: {"a": n}]
    )
    for (target, arguments), slot in itertools.product(ACTS, SLOTS):
        hostile = next(forms)({"_target_": target, **arguments})
        path, read = write(next(places), checkpoint, changed(config, slot, hostile)), next(readers)
        attempt(f"{target} as {slot}", lambda path=path, read=read: read(path))
    for value, leaf in itertools.product(READ, LEAVES):
        path = write(next(places), checkpoint, changed(config, leaf, value))
        attempt(f"{value} as {leaf}", lambda path=path: lab.restore(path))

    # Some of each through every command that reads such a file.
    hostiles = {
        "a function": changed(config, "model.generator", {"_target_": "os.system", "command": f"touch {CANARY}"}),
        "a tuple": changed(config, "model.generator.width", ({"_target_": "os.mkdir", "path": str(CANARY)},)),
        "a secret": changed(config, "name", "${oc.env:CANARY}"),
        "an import": changed(config, "metrics._target_", "evil.Model"),
    }
    stranger = HERE / "strangers" / "x.ckpt"
    lines = [
        ["generate", f"checkpoint={stranger}"],
        ["generate", "checkpoint=painter"],
        ["generate", f"checkpoint={result}"],
        ["evaluate", f"checkpoint={stranger}"],
        ["evaluate", "checkpoint=namer", "metrics=generative", f"metrics.judge={stranger}"],
        ["explain", f"checkpoint={stranger}"],
        ["audit", f"checkpoint={stranger}"],
        ["audit", f"checkpoint={result}"],
        ["judge", f"features={stranger}"],
        ["edit", "operation=attribute", "input=drawn/000000.png", "attribute=class", f"checkpoint={stranger}"],
        ["train", "resume=painter"],
        ["train", "fork=painter", "budget.images=9999"],
        ["train", f"init={stranger}", "profile=smoke", "budget.images=64"],
        ["train", "experiment=classifier/real_or_generated", "profile=smoke", f"data.source.generator={stranger}"],
        ["prepare", "data=real_or_generated", f"data.source.generator={stranger}"],
        ["reproduce", "run=painter"],
    ]
    kept = {
        name: (painter.folder / name).read_bytes()
        for name in ("config.yaml", "checkpoints/best.ckpt", "checkpoints/last.ckpt")
    }
    for kind, hostile in hostiles.items():
        for path in (stranger, result / "best.ckpt", inside / "best.ckpt", inside / "last.ckpt"):
            write(path, checkpoint, hostile)
        (painter.folder / "config.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(hostile))))
        for line in lines:
            attempt(f"{kind}: darkroom {' '.join(line)}", lambda line=line: typed(line))
    for name, content in kept.items():
        (painter.folder / name).write_bytes(content)

    # YAML that would build objects, or is without end.
    for text in (
        "!!python/object/apply:os.system ['touch canary']",
        "&a [*a]",
        "model: &a {_target_: *a}",
        "- [" * 500,
        "\0",
    ):
        (painter.folder / "config.yaml").write_text(text)
        attempt(f"reproduce {text[:40]!r}", lambda: typed(["reproduce", "run=painter"]))
    (painter.folder / "config.yaml").write_bytes(kept["config.yaml"])

    # Classes that are parts, given what would reach out.
    write(stranger, checkpoint, changed(config, "metrics.cache", str(ELSEWHERE)))
    attempt("a cache elsewhere", lambda: typed(["evaluate", f"checkpoint={stranger}"]), must_refuse=False)
    mnist = {"_target_": "darkroom.data.mnist.Mnist", "name": "mnist", "val": 10, "download": True}
    far = changed(changed(config, "data.source", mnist), "paths.data", str(ELSEWHERE))
    write(stranger, checkpoint, far)
    attempt("a download elsewhere", lambda: typed(["evaluate", f"checkpoint={stranger}"]))
    named = loaded["namer"]["darkroom"]["config"]
    network = {
        "_target_": "darkroom.networks.backbone.Backbone",
        "_partial_": True,
        "name": "resnet18",
        "pretrained": True,
    }
    write(stranger, loaded["namer"], changed(named, "model.network", network))
    attempt("weights of timm", lambda: typed(["evaluate", f"checkpoint={stranger}"]), must_refuse=False)

    print(json.dumps({"attempts": attempts, "acted": acted, "not refused": unrefused}))


if __name__ == "__main__":
    main()
