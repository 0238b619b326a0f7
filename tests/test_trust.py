"""What a recorded configuration may name, whoever made it and wherever it lies."""

import importlib
import json
import os
import pkgutil
import stat
import subprocess
import sys
import textwrap
import warnings
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from darkroom import paths, trust
from darkroom.config.composing import compose
from darkroom.config.parts import build
from darkroom.config.recorded import admitted
from darkroom.config.schema import SCHEMAS
from darkroom.errors import UserError
from darkroom.judges.judge import plain_network
from darkroom.sweeping.space import Space
from darkroom.tracking import checkpoints, outputs
from darkroom.trust import Refusal, Slot

PACKAGES = ("darkroom", "torch.nn", "torch.optim", "pytorch_lightning")
# Every base that a slot of the lab has, by where it is defined.
BASES = (
    *trust._ROOTS.values(),
    *trust._PARTS,
    "darkroom.losses.likelihoods.Likelihood",
    "darkroom.models.adversary.Adversary",
    "darkroom.models.diffaugment.DiffAugment",
)


@pytest.fixture(scope="module")
def gan():
    return compose("train", [])


def changed(node, path, value):
    """The configuration with one setting replaced or added."""
    first, _, rest = path.partition(".")
    return {**node, first: changed(node[first], rest, value) if rest else value}


def refused(node):
    """The sentence that a recorded configuration is refused with."""
    with pytest.raises(UserError) as caught:
        admitted(node, "It")
    sentence = str(caught.value)
    assert sentence.startswith("It ")
    assert sentence.isprintable()
    return sentence


# --- names ------------------------------------------------------------------------------------------------------------


def test_whatever_the_lab_can_compose_is_admitted_as_it_was_recorded(everything):
    composed = [(file, node) for file, name, node in everything if name == "train"]
    assert len(composed) > 100
    for file, node in composed:
        recorded = json.loads(json.dumps({**node, "submit": None}))
        assert admitted(recorded, "It") == recorded, file


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "torch.hub.load",
        "torchx.nn.A",
        "darkroom.sweeping.launching.launch",
        "darkroom.files.write",
        "darkroom.files.Path.unlink",
        "darkroom.files.Path",
        "darkroom.networks.unet.nn.Conv2d",
        "darkroom.models.gan.Tensor",
        "darkroom.models.gan.torch.load",
        "darkroom.load",
        "darkroom.judges.judge.Judge.load",
        "darkroom.networksx.Thing",
        "torch.nn.modules.module.torch.load",
        "torch.nn.init.normal_",
        "torch.nn.Module.load_state_dict",
        "torch.nn.parallel.DistributedDataParallel",
        "torch.optim.lr_scheduler.LambdaLR",
        "torch.optim.Adam",
        "pytorch_lightning.loggers.CSVLogger",
        "pytorch_lightning.utilities.rank_zero.os.system",
        "pytorch_lightning.Trainer",
        "darkroom.networks.nowhere.Nothing",
        "darkroom.networks.dcgan.Nothing",
        "darkroom.networks.dcgan",
        "",
        ".",
        "DcganGenerator",
        "darkroom.networks.dcgan.DcganGenerator ",
        "darkroom.networks.dcgan.__builtins__",
        "${oc.env:HOME}",
        None,
        3,
        ["os.system"],
        {"_target_": "os.system"},
    ],
)
def test_a_generator_is_a_network_of_the_lab(gan, target):
    assert "model.generator" in refused(changed(gan, "model.generator._target_", target))


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("model", "darkroom.networks.dcgan.DcganGenerator"),
        ("model", "darkroom.data.module.ImageData"),
        ("model.generator", "darkroom.models.gan.Gan"),
        ("model.generator_optimizer", "darkroom.networks.dcgan.DcganGenerator"),
        ("model.schedule", "darkroom.models.curriculum.Curriculum"),
        ("data", "darkroom.models.gan.Gan"),
        ("data.source", "darkroom.data.cifar10.ArrayUnpickler"),
        ("data.source", "darkroom.data.source.Source"),
        ("data.source", "darkroom.data.module.ImageData"),
        ("metrics", "darkroom.judges.judge.Inception"),
        ("metrics", "darkroom.metrics.classification.Namer"),
        ("trainer", "darkroom.scaling.on_ray.train"),
        ("sentinel", "darkroom.callbacks.sentinel.Sentinel"),
    ],
)
def test_a_slot_takes_its_own_base_only(gan, path, target):
    assert f"as its '{path}'" in refused(changed(gan, f"{path}._target_", target))


@pytest.mark.parametrize(
    "path", ["paths.data", "name", "seed", "tracking.tags.x", "model.latent_dim", "extra", "budget"]
)
def test_nothing_is_built_where_nothing_belongs(gan, path):
    network = {"_target_": "darkroom.networks.lenet.LeNet", "_partial_": True}
    assert f"'{path}', and nothing is built there" in refused(changed(gan, path, network))


def test_parts_of_pytorch_and_lightning_have_no_parts(gan):
    profiler = {"_target_": "pytorch_lightning.profilers.SimpleProfiler", "dirpath": "/tmp", "filename": "canary"}
    assert "nothing is built there" in refused(changed(gan, "trainer.strategy", profiler))
    assert "nothing is built there" in refused(changed(gan, "model.generator_optimizer.lr", profiler))


def test_parts_in_lists_and_tuples_are_looked_at(gan):
    mix = {"_target_": "darkroom.imaging.degradations.Mix"}
    restorer = compose("train", ["model=restorer", "degradation@model.degradation=mix"])
    parts = restorer["model"]["degradation"]["parts"]
    assert admitted(changed(restorer, "model.degradation.parts", tuple(parts)), "It") == restorer
    for kind in (list, tuple):
        hostile = kind([*parts, kind([{"_target_": "os.system", "command": "true"}])])
        assert "os.system" in refused(changed(restorer, "model.degradation.parts", hostile))
    assert mix["_target_"] == restorer["model"]["degradation"]["_target_"]


def test_a_class_is_asked_for_where_it_is_defined(gan):
    assert "only imported there, from darkroom.models.schedule" in refused(
        changed(gan, "model.schedule._target_", "darkroom.models.gan.Schedule")
    )
    for name in ("torch.optim.AdamW", "torch.optim.adamw.AdamW"):  # a package may show what its modules define
        admitted(changed(gan, "model.generator_optimizer._target_", name), "It")


def test_what_is_called_later_and_what_is_made_at_once_are_not_mixed_up(gan):
    assert "needs _partial_: true" in refused(changed(gan, "model.generator._partial_", False))
    assert "needs _partial_: false" in refused(changed(gan, "model.schedule._partial_", True))


# --- values -----------------------------------------------------------------------------------------------------------

LOOP: list = []
LOOP.append(LOOP)
DEEP: dict = {}
for _ in range(400):
    DEEP = {"a": DEEP}
WIDE = [1]
for _ in range(40):  # a few lines of YAML with aliases, and a million million values
    WIDE = [WIDE, WIDE]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("name", "${oc.env:CANARY}", "not a reference"),
        ("name", "a ${oc.env:CANARY} b", "not a reference"),
        ("model.loss", "${oc.env:CANARY}", "not a reference"),
        ("model.latent_dim", "???", "not a reference"),
        ("model.generator.width", ("${oc.env:CANARY}",), "not a reference"),
        ("tracking.tags", {"${oc.env:CANARY}": "x"}, "names of settings"),
        ("tracking.tags", {3: "x"}, "names of settings"),
        ("model._args_", ["x"], "has _args_"),
        ("model.schedule._args_", ["x"], "has _args_"),
        ("model._recursive_", False, "has _recursive_"),
        ("model._convert_", "all", "has _convert_"),
        ("model.generator.__class__", "x", "has __class__"),
        ("tracking._args_", ["x"], "has _args_"),
        ("paths._partial_", True, "has _partial_"),
        ("seed", {1, 2}, "is a builtins.set"),
        ("name", b"bytes", "is a builtins.bytes"),
        ("seed", 2**70, "beyond 64 bits"),
        ("seed", torch.zeros(1), "is a torch.Tensor"),
        ("precision", torch.float32, "is a torch.dtype"),
        ("name", print, "is a builtins.builtin_function_or_method"),
        ("name", "x" * 200_000, "200000 letters"),
        ("tracking.tags", LOOP, "nested or repeated"),
        ("tracking.tags", DEEP, "nested or repeated"),
        ("tracking.tags", WIDE, "nested or repeated"),
        ("model", None, "records no model"),
        ("model", [], "records no model"),
        ("data", "digits", "records no data"),
        ("metrics", {"every": 3}, "records no metrics"),
        ("paths", "x", "several settings were expected"),
        ("paths.data", 3, "a text was expected"),
        ("seed", "zero", "a whole number was expected"),
        ("seed", -1, "at least 0"),
        ("model.schedule.warmup", 7.0, "at most 1"),
        ("model.latent_dim", "many", "whole number"),
        ("model.latent_dims", 3, "There is no setting 'model.latent_dims'"),
        ("model.image_shape", [1, 8, 8], "is not yours to set"),
        ("trainer.logger", True, "is not yours to set"),
        ("trainer.callbacks", [], "is not yours to set"),
        ("model.conditioning", "os.system", "one of"),
    ],
)  # fmt: skip
def test_a_recorded_setting_is_a_value_that_could_have_been_typed(gan, monkeypatch, path, value, said):
    monkeypatch.setenv("CANARY", "nightingale")
    sentence = refused(changed(gan, path, value))
    assert said in sentence
    assert "nightingale" not in sentence


@pytest.mark.parametrize("recorded", [None, [], "x", 3, {}, {"model": {}}, {"model": {"_target_": "os.system"}}])
def test_what_is_no_configuration_is_refused(recorded):
    refused(recorded)


def test_a_strangers_name_cannot_write_on_the_terminal(gan):
    sentence = refused(changed(gan, "model._target_", "\x1b[2J\nos.system" + "x" * 1000))
    assert len(sentence) < 400


def test_what_says_where_to_write_is_not_taken_over(gan):
    for path in ("output", "resume", "fork", "metrics.cache", "trainer.profiler", "trainer.default_root_dir"):
        group, _, key = path.rpartition(".")
        kept = admitted(changed(gan, path, "/tmp/canary"), "It")
        assert (kept[group] if group else kept)[key] is None


def test_nothing_recorded_is_fetched():
    node = {"source": {"download": True, "parts": [{"pretrained": True}]}, "name": "download"}
    assert trust.offline(node) == {"source": {"download": False, "parts": [{"pretrained": False}]}, "name": "download"}
    assert node["source"]["download"] is True


def test_runs_of_before_are_admitted_under_the_names_of_then(gan):
    before = changed(gan, "model.penalty", {"_target_": "darkroom.losses.penalties.recommended", "loss": "hinge"})
    assert build(admitted(before, "It")["model"]["penalty"]).r1 == 1
    ray = compose("train", ["trainer=ray"])["trainer"]
    before = changed(gan, "trainer", {**ray, "_target_": "darkroom.scaling.on_ray.trainer"})
    assert admitted(before, "It")["trainer"] == ray


# --- other readers ----------------------------------------------------------------------------------------------------


class Act:
    """What a pickle would call."""

    def __reduce__(self):
        return os.system, ("touch canary",)


class Disguised(torch.Tensor):
    """A tensor with methods of its own."""


@pytest.mark.parametrize(
    "content",
    [Act(), os.system, torch._utils._rebuild_tensor_v2, 3j, bytearray(1), LOOP, DEEP, Path("x"), OrderedDict(a={3j})],
    ids=lambda content: type(content).__name__,
)  # fmt: skip
def test_a_checkpoint_holds_tensors_and_plain_containers(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    torch.save({"darkroom_version": "0", "state_dict": {}, "x": content}, tmp_path / "x.ckpt")
    with pytest.raises(UserError):
        checkpoints.load(tmp_path / "x.ckpt")
    assert [file.name for file in tmp_path.iterdir()] == ["x.ckpt"]


def test_a_tensor_of_another_class_is_none(tmp_path):
    strange = torch.zeros(2).as_subclass(Disguised)
    with torch.serialization.safe_globals([Disguised]):
        torch.save({"darkroom_version": "0", "x": strange}, tmp_path / "x.ckpt")
        with pytest.raises(UserError, match="more than tensors"):
            checkpoints.load(tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    "architecture",
    ["unet.nn", "unet.Tensor", "convnet.nn.Conv2d", "backbone.Backbone", "../convnet.ConvNet", "os.system", "", 3],
)  # fmt: skip
def test_a_judge_is_a_plain_network_by_its_own_name(architecture):
    with pytest.raises(UserError, match="no plain network"):
        plain_network(architecture, {})


@pytest.mark.parametrize("run_id", ["../../elsewhere", "a/b", "", "a' OR '1'='1", "..", 3, None, ["x"]])
def test_a_folder_stands_for_a_run_by_its_id(tmp_path, run_id):
    (tmp_path / outputs.RUN).write_text(json.dumps({"run_id": run_id}))
    assert outputs.run_id(tmp_path) is None


@pytest.mark.parametrize(("experiment", "run"), [("..", "a"), ("1", "../a"), ("1", "/etc"), ("", "a"), ("1", "a\n")])
def test_a_server_names_no_folders(store, experiment, run):
    with pytest.raises(UserError, match="no id of MLflow"):
        store.folder(experiment, run)


def test_a_sweep_goes_on_with_points_of_its_space_only(gan):
    space = Space.read(
        "mine",
        {"model.schedule.warmup": {"low": 0.1, "high": 0.5}, "model.loss": {"choices": ["hinge", "minimax"]}},
        gan,
    )
    space.check({"model.schedule.warmup": 0.2, "model.loss": "hinge"})
    for point in (
        {"model.schedule.warmup": "${oc.env:CANARY}"},
        {"model.loss": "${oc.env:CANARY}"},
        {"model.loss": {"_target_": "os.system"}},
        {"model._target_": "os.system"},
        {"model.schedule.warmup": True},
        ["model.loss"],
    ):
        with pytest.raises(UserError, match="none of its space"):
            space.check(point)


# --- packages of one's own --------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of a person's own, whose import would be noticed; its name."""
    name = f"lab_of_{os.getpid()}_{tmp_path.name[-1]}_{len(sys.modules)}"
    folder = tmp_path / "own" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(f"from {name}.parts import Flow\n")
    (folder / "parts.py").write_text(
        textwrap.dedent(
            """
            import os
            from subprocess import Popen
            from torch import nn
            from darkroom.models.gan import Gan
            from darkroom.data.digits import Digits

            class Flow(Gan):
                def __init__(self, block, latent_dim: int = 8, **more):
                    super().__init__(latent_dim=latent_dim, **more)
                    self.block = block

            class Block(nn.Module): ...

            class Act:
                def __init__(self, **_):
                    os.mkdir("canary")

            def act(**_):
                os.mkdir("canary")
            """
        )
    )
    (folder / "harmful.py").write_text("import os\nos.mkdir('canary')\nfrom darkroom.models.gan import Gan\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.chdir(tmp_path)
    yield name
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


def flow(gan, package, target="Flow"):
    block = {"_target_": f"{package}.parts.Block"}
    return {**gan, "model": {**gan["model"], "_target_": f"{package}.{target}", "block": block}}


def test_a_package_of_ones_own_needs_a_word_once(gan, package, monkeypatch):
    node = flow(gan, package)
    assert f"type trust={package}" in refused(node)
    assert package not in sys.modules  # a name alone imports nothing
    trust.allow(package)
    assert admitted(node, "It") == node
    monkeypatch.setattr(trust, "_heard", set())  # another process
    assert admitted(node, "It") == node
    assert admitted(flow(gan, package, "parts.Flow"), "It")


def test_the_word_opens_classes_of_the_slot_and_nothing_else(gan, package, tmp_path):
    trust.allow([package, "os", "subprocess", "builtins"])
    for name in ("parts.Act", "parts.act", "parts.Popen", "parts.os", "parts.os.system", "parts.Digits", "parts.Gan",
                 "harmful.Gan", "nowhere.Flow", "parts.Block", "parts"):  # fmt: skip
        assert package in refused(flow(gan, package, name))
    for name in ("os.system", "subprocess.Popen", "builtins.eval", "builtins.type"):
        assert name in refused(changed(gan, "model._target_", name))
    assert "Popen" in refused(changed(flow(gan, package), "model.block._target_", f"{package}.parts.Popen"))
    assert "os.system" in refused(changed(flow(gan, package), "model.block._target_", "os.system"))
    assert "Gan" in refused(changed(flow(gan, package), "model.block._target_", "darkroom.models.gan.Gan"))
    assert not (tmp_path / "canary").exists()


def test_what_one_types_is_the_word_by_itself(gan, package, typed, root):
    line = f"train model._target_={package}.parts.Flow +model.block._target_={package}.parts.Block"
    assert package not in trust.trusted()
    code, _, err = typed(line, instead=lambda config: None)
    assert code == 0, err
    assert trust.trusted() == {package}
    admitted(flow(gan, package), "It")
    code, _, err = typed("generate trust=[other_lab,third.lab]", instead=lambda config: None)
    assert (code, trust.trusted()) == (0, {package, "other_lab", "third.lab"})


@pytest.mark.parametrize("word", ["my-lab", "[1]", "{a:1}", "3", "a/b"])
def test_a_word_is_the_name_of_a_package(typed, root, word):
    code, _, err = typed(f"generate trust={word}", instead=lambda config: None)
    assert code == 2
    assert "is no package" in err
    assert trust.trusted() == frozenset()


def test_words_are_the_persons_own(monkeypatch):
    trust.allow("my_lab")
    path = trust._list()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.setattr(trust, "_heard", set())
    assert trust.trusted() == {"my_lab"}
    path.chmod(0o666)
    with pytest.raises(UserError, match="others can write it: type chmod 600"):
        trust.trusted()
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("in the way")
    trust.allow("my_lab")  # holds for this command, and is said not to be kept
    assert trust.trusted() == {"my_lab"}


def test_no_command_that_only_looks_is_asked_whom_it_trusts():
    loading = {name for name, schema in SCHEMAS.items() if "trust" in schema.__dataclass_fields__}
    assert set(SCHEMAS) - loading == {"compare", "report", "dashboard", "check"}


# --- everything there is ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_of_all_that_four_packages_hold_only_classes_of_a_slots_base_pass():
    """Walk every public name of every module, what it has imported included, through every slot."""
    modules = []
    with warnings.catch_warnings(action="ignore"):
        for package in map(importlib.import_module, PACKAGES):
            modules.append(package)
            for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.", onerror=lambda name: None):
                if found.name.rpartition(".")[2] == "__main__":
                    continue
                try:
                    modules.append(importlib.import_module(found.name))
                except ImportError:  # of an extra that is not installed: its names are none that exist here
                    continue
    names = {f"{module.__name__}.{name}" for module in modules for name in dir(module)}
    through = {
        **{"torch": ("load", "save", "nn", "Tensor"), "nn": ("Conv2d", "Module"), "os": ("system", "mkdir")},
        **{"Path": ("unlink", "touch"), "subprocess": ("run", "Popen"), "pl": ("Trainer",), "sys": ("exit",)},
    }
    for module in modules:
        for name in through.keys() & vars(module).keys():
            names |= {f"{module.__name__}.{name}.{inner}" for inner in through[name]}
    assert len(names) > 15_000
    for base in map(trust._located, dict.fromkeys(BASES)):
        passed = {}
        for name in names:
            try:
                passed[name] = trust.part_of(name, (Slot(base, None),), False, frozenset())
            except Refusal:
                continue
        assert passed, base
        rooms = trust._rooms(base)
        for name, kind in passed.items():
            module = sys.modules[kind.__module__]
            assert isinstance(kind, type), name
            assert vars(module)[kind.__qualname__] is kind, name
            assert kind.__module__.startswith(tuple(rooms)), name
            if getattr(base, "_is_protocol", False):
                assert hasattr(kind, "load" if base.__name__ == "Source" else "score"), name
            else:
                assert issubclass(kind, base), name


@pytest.mark.slow
def test_no_stranger_acts(project):
    """Over 200 checkpoints, run folders and recorded configurations through the commands that read them."""
    script = Path(__file__).with_name("strangers.py")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=project,
        env={
            **os.environ,
            "CANARY": "nightingale-in-the-coal-mine",
            "PYTHONPATH": str(paths.PACKAGE.parent),
        },
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["attempts"] >= 200
    assert report["acted"] == []
    assert report["not refused"] == []
