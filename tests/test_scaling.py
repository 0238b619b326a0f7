"""One run on several hosts, under torchrun and under SLURM: one run in the store, the weights of one process."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from darkroom import lab
from darkroom.config import composing
from darkroom.config.schema import Submit
from darkroom.errors import Interrupted, UserError
from darkroom.scaling import on_ray, slurm
from darkroom.tracking import checkpoints, run, tag

SMALL = [
    "experiment=gan/digits",
    "data.image_size=8",
    "data.source.test=0.3",
    "budget.images=320",  # further on, adversaries amplify what rounding began
    "model.generator.width=4",
    "model.discriminator.width=4",
    "metrics.images=128",
    "metrics.test_images=128",
    "metrics.every=160",
    "tracking.log_every=160",
    # Not Adam: it divides gradients by their own size, and makes float error as large as they are.
    "optimizer@model.generator_optimizer=sgd",
    "optimizer@model.discriminator_optimizer=sgd",
]
pytestmark = pytest.mark.timeout(900)
TRAIN = [sys.executable, "-m", "darkroom", "train"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
ASKED = {
    "dry_run": True,
    "nodes": 2,
    "tasks": 4,
    "gpus": 4,
    "cpus": 6,
    "minutes": 90,
    "warning": 120,
    "memory": "64G",
    "partition": "long",
    "account": None,
    "constraint": None,
    "setup": ["module load cuda"],
}


def ran(command, **more):
    done = subprocess.run(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"} | more,
        capture_output=True,
        text=True,
        timeout=800,  # far more than it takes: machines are shared
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def alone(tmp_path_factory, empty_database):
    """The weights that one process comes to."""
    root = tmp_path_factory.mktemp("alone")
    (root / "mlruns").mkdir()
    shutil.copy(empty_database, root / "mlruns" / "mlflow.db")
    ran([*TRAIN, *SMALL, "trainer=cpu"], DARKROOM_ROOT=str(root))
    (last,) = root.glob("mlruns/*/*/artifacts/checkpoints/last.ckpt")
    return checkpoints.load(last)["state_dict"]


def assert_one_run_as_alone(store, alone):
    """Exactly one run, finished, with the weights that one process comes to."""
    (record,) = store.runs()
    assert record.status == "FINISHED", record.tags[tag.ENDED]
    trained = checkpoints.load(record.folder / "checkpoints" / "last.ckpt")["state_dict"]
    assert trained.keys() == alone.keys()
    for name, tensor in trained.items():
        assert torch.allclose(tensor, alone[name], atol=1e-5), name
    return record


# --- how many processes there are, and how many are asked for ---------------------------------------------------------


@pytest.fixture
def trainer():
    def compose(name, *overrides):
        return composing.compose("train", [f"trainer={name}", "trainer.accelerator=cpu", *overrides])["trainer"]

    return compose


@pytest.fixture
def on_slurm(monkeypatch):
    for name, value in {"JOB_ID": 4711, "NTASKS": 2, "NTASKS_PER_NODE": 2, "NNODES": 1}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    for name in ("PROCID", "LOCALID", "NODEID"):
        monkeypatch.setenv(f"SLURM_{name}", "0")
    monkeypatch.delenv("SLURM_JOB_NAME", raising=False)
    return monkeypatch


def test_slurm_and_torchrun_say_how_many_there_are(trainer, on_slurm):
    on_slurm.setenv("SLURM_NNODES", "3")
    on_slurm.setenv("LOCAL_WORLD_SIZE", "4")
    on_slurm.setenv("GROUP_WORLD_SIZE", "5")
    assert (trainer("slurm")["devices"], trainer("slurm")["num_nodes"]) == (2, 3)
    assert (trainer("torchrun")["devices"], trainer("torchrun")["num_nodes"]) == (4, 5)


def test_fewer_processes_than_devices_are_refused(trainer, on_slurm):
    lab.check_trainer(trainer("slurm"), "32")
    on_slurm.setenv("SLURM_NTASKS", "1")  # Lightning would train with one and say nothing
    on_slurm.setenv("SLURM_NTASKS_PER_NODE", "1")
    with pytest.raises(UserError, match=r"slurm started 1 process, .* asks for 2 .*--ntasks-per-node=2"):
        lab.check_trainer(trainer("ddp", "trainer.devices=2"), "32")
    on_slurm.setenv("SLURM_JOB_NAME", "interactive")  # a shell on a node: nothing was started by srun
    lab.check_trainer(trainer("ddp", "trainer.devices=1"), "32")


def test_more_processes_than_devices_are_refused(trainer, monkeypatch):
    for name, value in {"WORLD_SIZE": 2, "TORCHELASTIC_RUN_ID": "x", "RANK": 0, "LOCAL_RANK": 0}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(UserError, match=r"torchrun started 2 processes, .* asks for 1 .*trainer=torchrun"):
        lab.check_trainer(trainer("default"), "32")


def test_lightning_does_not_requeue_jobs_by_itself(on_slurm):
    (plugin,) = lab.environment()
    assert not plugin.auto_requeue
    on_slurm.delenv("SLURM_NTASKS")
    assert lab.environment() == []


# --- SLURM ------------------------------------------------------------------------------------------------------------


def test_what_is_submitted_is_printed(typed, root):
    code, said, _ = typed(
        "train submit=slurm submit.dry_run=true submit.nodes=2 submit.tasks=4 submit.partition=long"
        " experiment=gan/digits trainer=gpu trainer.devices=1 trainer.deterministic=false seed=3"
    )
    assert code == 0
    for option in (
        "--job-name=gan-digits",
        "--nodes=2",
        "--ntasks-per-node=4",
        "--gpus-per-node=4",
        "--time=240",
        "--signal=USR1@300",
        "--requeue",
        "--partition=long",
        f"--output={root}/mlruns/slurm/%j.log",
    ):
        assert f"#SBATCH {option}\n" in said
    assert (
        f"\nsrun --cpus-per-task=4 {sys.executable} -m darkroom train experiment=gan/digits seed=3 trainer=slurm"
        " trainer.deterministic=false\n" in said
    )
    assert not (root / "mlruns").exists()


def test_a_script_says_no_more_than_was_asked(tmp_path):
    text = slurm.script({**ASKED, "gpus": 0, "memory": None}, ["name=it's"], tmp_path)
    assert "gpus" not in text
    assert "--mem" not in text
    assert "account" not in text
    assert text.index("module load cuda") < text.index("srun")
    assert "trainer=slurm trainer.accelerator=cpu\n" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


BREAKING = ["\n", "\r", "\x00", "\x1b", "\x85", "\u2028", "\t"]


@pytest.mark.parametrize("sign", [*BREAKING, " ", '"', "#"])
@pytest.mark.parametrize("name", [field.name for field in fields(Submit) if field.name not in ("dry_run", "setup")])
def test_no_field_can_begin_another_option_or_line(tmp_path, name, sign):
    with pytest.raises(UserError, match=rf"submit\.{name}") as refused:
        slurm.script({**ASKED, name: f"a{sign}#SBATCH --uid=0"}, [], tmp_path)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("sign", BREAKING)
def test_no_line_of_setup_and_nothing_typed_can_begin_another_line(tmp_path, sign):
    with pytest.raises(UserError, match=r"submit\.setup\[1\]"):
        slurm.script({**ASKED, "setup": ["module load cuda", f"true{sign}rm -rf ~"]}, [], tmp_path)
    for word in (f"name=a{sign}b", f"model.lr{sign}x=1", f"+submit.partition='a{sign}b'", f"a{sign}b"):
        with pytest.raises(UserError) as refused:
            slurm.script(ASKED, ["seed=1", word], tmp_path)
        assert str(refused.value).isprintable()
    with pytest.raises(UserError, match="project folder"):
        slurm.script(ASKED, [], tmp_path / f"a{sign}b")


def test_what_is_typed_with_a_newline_is_not_submitted(typed, root):
    code, said, err = typed("train submit=slurm submit.dry_run=true 'submit.account=\"a\n#SBATCH --uid=0\"'")
    assert (code, said) == (2, "")
    assert "new line" in err
    assert len(err.splitlines()) == 1


def test_a_project_folder_with_spaces_stays_one_option(tmp_path):
    text = slurm.script(ASKED, [], tmp_path / "my project")
    assert f'#SBATCH --output="{tmp_path}/my project/mlruns/slurm/%j.log"\n' in text


def test_without_sbatch_or_with_a_wrong_number_nothing_is_submitted(typed, root, monkeypatch):
    monkeypatch.setenv("PATH", "")
    code, _, said = typed("train submit=slurm")
    assert (code, "needs sbatch" in said) == (2, True)
    code, _, said = typed("train submit=slurm submit.nodes=0")
    assert (code, "'submit.nodes' is 0" in said) == (2, True)
    code, _, said = typed("train submit=slurm submit.node=2")
    assert (code, "submit.nodes" in said) == (2, True)


def test_a_requeued_job_goes_on_with_its_own_run(store, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    job = slurm.job_of(["seed=1"])
    for name, words in {"other": ["seed=2"], "begun": ["seed=1"], "without a state": ["seed=1"]}.items():
        with run.start(store, "lab", name, {}, {}, {tag.JOB: slurm.job_of(words)}, system_metrics=None) as opened:
            if name != "without a state":
                (opened.folder / "checkpoints").mkdir()
                (opened.folder / "checkpoints" / "last.ckpt").touch()
    assert slurm.requeued(store, ["seed=1"]) is None  # the first time there is nothing to go on with
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert slurm.requeued(store, ["seed=1"]).name == "begun"
    assert slurm.requeued(store, ["seed=3"]) is None
    monkeypatch.setenv("SLURM_JOB_ID", "4712")
    assert slurm.job_of(["seed=1"]) != job
    assert slurm.requeued(store, ["seed=1"]) is None


@pytest.mark.parametrize(("name", "code"), [("SIGUSR1", slurm.REQUEUE), ("SIGTERM", 143), ("SIGINT", 130)])
def test_the_exit_code_says_which_signal_came(typed, root, name, code):
    def interrupted(config):
        raise Interrupted(name)

    assert typed("train", instead=interrupted)[0] == code


SBATCH = """#!/bin/sh
cat > "$FOLDER/job.sh"; echo Submitted batch job 4711
"""
SCONTROL = """#!/bin/sh
echo "$@" >> "$FOLDER/requeued"
"""
SRUN = """#!/bin/sh
shift
export SLURM_NTASKS=2 SLURM_NTASKS_PER_NODE=2 SLURM_NNODES=1 SLURM_NODEID=0
SLURM_PROCID=0 SLURM_LOCALID=0 "$@" & first=$!
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & second=$!
echo $first $second > "$FOLDER/pids"
wait $second; other=$?; wait $first; code=$?
[ $other -gt $code ] && exit $other; exit $code
"""


@pytest.mark.slow
def test_a_job_whose_time_is_up_is_requeued_and_goes_on(store, tmp_path, monkeypatch):
    """With programs in place of SLURM's that start two processes, as srun does, and note what they are told."""
    stand_ins = tmp_path / "stand-ins"
    stand_ins.mkdir()
    for name, text in {"sbatch": SBATCH, "scontrol": SCONTROL, "srun": SRUN}.items():
        (stand_ins / name).write_text(text)
        (stand_ins / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_ins}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FOLDER", str(stand_ins))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    long = [*SMALL, "budget.images=19200", "saving.every_minutes=0.005", "metrics.every=19200"]
    assert "4711" in ran([*TRAIN, *long, "submit=slurm", "submit.gpus=0", "submit.tasks=2"]).stdout
    assert store.runs() == []
    job = ["bash", str(stand_ins / "job.sh")]
    number = {"SLURM_JOB_ID": "4711"}
    process = subprocess.Popen(job, env=os.environ | number, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline and process.poll() is None:
        if any((record.folder / "checkpoints" / "last.ckpt").exists() for record in store.runs()):
            break
        time.sleep(0.2)
    for pid in (stand_ins / "pids").read_text().split():
        os.kill(int(pid), signal.SIGUSR1)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == slurm.REQUEUE, said.decode()
    assert (stand_ins / "requeued").read_text() == "requeue 4711\n"
    (record,) = store.runs()
    assert (record.status, record.tags[tag.ENDED]) == ("KILLED", "interrupted by SIGUSR1")
    seen = checkpoints.load(record.folder / "checkpoints" / "last.ckpt")["images_seen"]
    assert 0 < seen < 19200
    ran(job, **number, SLURM_RESTART_COUNT="1")
    (record,) = store.runs()
    assert record.status == "FINISHED"
    assert checkpoints.load(record.folder / "checkpoints" / "last.ckpt")["images_seen"] == 19200
    assert not (Path.cwd() / "hpc_ckpt_1.ckpt").exists()


def test_a_grid_is_printed_job_by_job_and_leaves_no_run(store, typed):
    code, said, _ = typed("train -m submit=slurm submit.dry_run=true seed=0,1")
    assert code == 0
    assert [line.split()[-2] for line in said.splitlines() if line.startswith("srun")] == ["seed=0", "seed=1"]
    assert "-m" not in said.replace("python -m", "").split()
    assert store.runs() == []


# --- Ray --------------------------------------------------------------------------------------------------------------


def test_without_ray_one_sentence_says_what_to_install(typed, root, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, said = typed("train trainer=ray")
    assert (code, said.strip()) == (2, "darkroom train: Ray is not installed: type pip install 'darkroom-lab[ray]'.")


@pytest.fixture
def cluster(monkeypatch):
    """What stands for Ray: a cluster of as many machines as asked for, with two processors each."""

    def make(machines):
        ray = SimpleNamespace(
            is_initialized=lambda: True,
            nodes=lambda: [{"Alive": True}] * machines + [{"Alive": False}],
            cluster_resources=lambda: {"CPU": 2.0 * machines},
        )
        monkeypatch.setattr(on_ray, "import_ray", lambda: ray)
        return ray

    return make


def test_a_file_of_runs_is_refused_when_ray_has_several_machines(root, cluster, monkeypatch):
    ray = cluster(1)
    assert on_ray.connect() is ray
    cluster(2)
    with pytest.raises(UserError, match="kept in a file of this one"):
        on_ray.connect()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert on_ray.connect().nodes()


def test_more_workers_than_ray_has_room_for_are_refused(typed, root, cluster):
    pytest.importorskip("ray")
    cluster(1)
    code, _, said = typed("train trainer=ray trainer.workers=3")
    assert (code, "more than the 2 processors" in said) == (2, True)


def test_a_grid_of_runs_of_several_processes_is_refused(typed, root):
    code, _, said = typed("train -m trainer=ray seed=0,1")
    assert (code, "do not mix" in said) == (2, True)


@pytest.mark.slow
def test_ray_train_trains_one_run(store, alone):
    pytest.importorskip("ray", reason="the extra 'ray'")
    ran([*TRAIN, *SMALL, "trainer=ray", "trainer.workers=2", "trainer.accelerator=cpu"])
    assert_one_run_as_alone(store, alone)


# --- torchrun ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_torchrun_trains_one_run(store, alone):
    ran(
        [
            *TORCHRUN,
            "--standalone",
            "--nproc-per-node=2",
            *TRAIN[1:],
            *SMALL,
            "trainer=torchrun",
            "trainer.accelerator=cpu",
        ]
    )
    record = assert_one_run_as_alone(store, alone)
    assert record.params["trainer.devices"] == "2"


@pytest.fixture
def hosts():
    """Two network namespaces joined by a cable: ``{name: (address, device)}``."""
    if os.geteuid() or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("two hosts are two network namespaces, which need ip, unshare and root")
    names = [f"darkroom-{os.getpid()}-{letter}" for letter in "ab"]
    cable = [f"dr{os.getpid() % 10**6}{letter}" for letter in "ab"]

    def ip(line):
        subprocess.run(["ip", *line.split()], check=True, capture_output=True)

    try:
        try:
            for name in names:
                ip(f"netns add {name}")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.stderr.decode().strip()}")
        ip(f"link add {cable[0]} netns {names[0]} type veth peer name {cable[1]} netns {names[1]}")
        made = {}
        for number, (name, device) in enumerate(zip(names, cable, strict=True), start=1):
            ip(f"-n {name} addr add 10.77.0.{number}/24 dev {device}")
            ip(f"-n {name} link set {device} up")
            ip(f"-n {name} link set lo up")
            made[name] = (f"10.77.0.{number}", device)
        yield made
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.mark.slow
def test_two_hosts_train_one_model(store, hosts, alone, tmp_path):
    """Each with a network, a name and a current folder of its own; the file system they share."""
    meeting = f"{next(iter(hosts.values()))[0]}:29400"
    known = tmp_path / "hosts"
    known.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, (address, _) in hosts.items()))
    processes = []
    for name, (_, device) in hosts.items():
        (tmp_path / name).mkdir()
        torchrun = [*TORCHRUN, "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint={meeting}"]
        torchrun += [*TRAIN[1:], *SMALL, "trainer=torchrun", "trainer.accelerator=cpu"]
        named = 'hostname "$0" && mount --bind "$1" /etc/hosts && shift && exec "$@"'  # seen in here alone
        inside = ["ip", "netns", "exec", name, "unshare", "--uts", "--mount", "sh", "-c", named, name, str(known)]
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": device, "OMP_NUM_THREADS": "1"}
        processes.append(
            subprocess.Popen(
                [*inside, *torchrun],
                cwd=tmp_path / name,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    try:
        said = [process.communicate(timeout=500)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said
    record = assert_one_run_as_alone(store, alone)
    assert record.params["trainer.num_nodes"] == "2"
    assert record.tags[tag.PROCESS].partition(":")[0] in hosts
    assert socket.gethostname() not in hosts
    assert [list((tmp_path / name).iterdir()) for name in hosts] == [[], []]  # nothing is left where they stood
