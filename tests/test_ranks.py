"""A process that is told it is one of several is refused when nobody started the others."""

import os

import pytest

from darkroom import ranks
from darkroom.config.command import _READING, check_alone
from darkroom.config.groups import options
from darkroom.config.schema import SCHEMAS
from darkroom.config.typed import Typed
from darkroom.errors import UserError
from darkroom.tracking.store import Store

VARIABLES = (*ranks.RANKS, *ranks.NODES, "WORLD_SIZE", "SLURM_NTASKS", "SLURM_LOCALID", "TORCHELASTIC_RUN_ID")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No variable says anything."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def told(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    return told


WRITING = [command for command in SCHEMAS if command not in _READING]


@pytest.mark.parametrize("variable", [*ranks.RANKS, *ranks.NODES])
@pytest.mark.parametrize("value", ["1", "7", "x", ""])
def test_a_leftover_variable_is_refused_by_its_name(alone, variable, value):
    alone(**{variable: value})
    with pytest.raises(UserError, match=rf"{variable}={value} .*type unset {variable}, or"):
        ranks.check()


@pytest.mark.parametrize("command", WRITING)
def test_every_command_that_leaves_anything_refuses_it(typed, root, alone, command):
    alone(LOCAL_RANK=1)
    search = " search=gan" if command == "sweep" else ""
    code, _, said = typed(f"{command}{search}")
    assert (code, said.count("\n"), "LOCAL_RANK=1" in said) == (2, 1, True), said
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("line", ["train -m seed=0,1", "train trainer=ddp trainer.devices=2"])
def test_so_do_a_grid_and_several_devices(typed, root, alone, line):
    alone(LOCAL_RANK=1, WORLD_SIZE=2)
    code, _, said = typed(line)
    assert (code, "unset LOCAL_RANK WORLD_SIZE" in said) == (2, True), said
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("command", _READING)
def test_commands_that_only_read_do_not_ask(alone, command):
    alone(LOCAL_RANK=1)
    check_alone(command)


def test_the_first_is_the_first(alone):
    alone(RANK=0, LOCAL_RANK=0, WORLD_SIZE=4, NODE_RANK=0, SLURM_PROCID=0, MASTER_ADDR="10.0.0.1")
    ranks.check()
    with pytest.raises(UserError, match="LOCAL_RANK=0 says that somebody else starts"):
        ranks.check(several=True)  # it would wait for the others for ever
    alone(NODE_RANK=1)
    ranks.check(nodes=2)


@pytest.mark.parametrize(
    "started",
    [
        {"TORCHELASTIC_RUN_ID": "none", "RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 2, "GROUP_RANK": 1},
        {"SLURM_PROCID": 3, "SLURM_NTASKS": 4, "SLURM_LOCALID": 1},
        {"SLURM_PROCID": 3, "SLURM_NTASKS": 4, "SLURM_LOCALID": 1, "LOCAL_RANK": 1, "RANK": 3},
        {"DARKROOM_ON_RAY": 1, "RANK": 1, "LOCAL_RANK": 1},
        {ranks._STARTER: os.getppid(), "LOCAL_RANK": 1, "NODE_RANK": 0, "WORLD_SIZE": 2},
    ],
)
def test_a_process_that_was_started_as_one_of_several_is(alone, started):
    alone(**started)
    ranks.check(several=True)


@pytest.mark.parametrize(
    ("started", "variable"),
    [
        ({"TORCHELASTIC_RUN_ID": "none", "LOCAL_RANK": 1}, "LOCAL_RANK"),
        ({"SLURM_PROCID": 4, "SLURM_NTASKS": 4}, "SLURM_PROCID"),
        ({"SLURM_PROCID": 1, "SLURM_NTASKS": 4, "SLURM_JOB_NAME": "bash"}, "SLURM_PROCID"),
        ({"SLURM_PROCID": 0, "SLURM_NTASKS": 1, "SLURM_LOCALID": 0, "LOCAL_RANK": 1}, "LOCAL_RANK"),
        ({ranks._STARTER: 1, "LOCAL_RANK": 1}, "LOCAL_RANK"),
    ],
)
def test_an_environment_that_contradicts_itself_was_left_over(alone, started, variable):
    alone(**started)
    with pytest.raises(UserError, match=f"^The environment variable {variable}="):
        ranks.check()


def test_who_starts_others_leaves_the_environment_as_it_was(alone):
    alone(WORLD_SIZE=3)
    before = dict(os.environ)
    with ranks.starting():
        assert os.environ[ranks._STARTER] == str(os.getpid())
        os.environ.update(LOCAL_RANK="0", WORLD_SIZE="2", MASTER_PORT="1")
    assert dict(os.environ) == before


# --- other ways to do nothing and call it success -------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "train -m experiment=glob(nothing*)",
        "train -m experiment=glob(*,exclude=*)",
        "train -m seed=glob(*)",
        "train -m seed=range(0,0)",
        "train -m seed=shuffle(range(2,1))",
        "train -m seed=interval(0,1)",
        "train -m seed=choice()",
        "train -m seed=",
        "train -m seed=[]",
        "train budget.images=0",
        "train data.limit=0",
        "sweep search=gan trials=0",
        "sweep search=gan workers=0",
        "sweep search=gan seeds=0",
        "generate count=0",
        "generate labels=[]",
        "explain count=0",
        "explain methods=[]",
        "explain input=empty",
        "audit generators=[]",
        "audit images=0",
        "edit operation=upscale input=empty",
        "edit operation=style input=empty",
        "edit output=there",
        "evaluate samples=empty data=digits",
        "evaluate",
        "compare runs=[]",
        "report runs=[]",
        "check folder=empty",
        "reproduce",
    ],
)
def test_nothing_done_is_no_success(typed, project, line):
    (project / "empty").mkdir()
    before = len(Store.open(project).runs())
    if line == "reproduce":
        line = "reproduce run=nobody"
    code, _, said = typed(line)
    assert code == 2, said
    assert said.startswith("darkroom ")
    assert said.count("\n") == 1, said
    assert len(Store.open(project).runs()) == before


def test_a_glob_finds_what_lies_in_subfolders(monkeypatch):
    typed = Typed("train", ["experiment=glob(gan/*)", "seed=1,2"], grid=True).spelt_out()
    every = [option for option in options("experiment") if option.startswith("gan/")]
    assert len(every) > 3
    assert typed.overrides == [f"experiment={','.join(every)}", "seed=1,2"]
    (everything,) = Typed("train", ["experiment=glob(*)"], grid=True).spelt_out().overrides
    assert everything == f"experiment={','.join(options('experiment'))}"
