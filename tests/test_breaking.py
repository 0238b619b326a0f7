"""What happens to a run when something around it is not as it should be: said early, in a sentence, nothing lost."""

import os
import subprocess
import sys

import pytest
import torch

from darkroom import paths, streams
from darkroom.callbacks.curves import Diverged
from darkroom.errors import UserError, printable
from darkroom.metrics.generative import Generative
from darkroom.tracking import outputs, tag
from darkroom.tracking.store import Store
from darkroom.training import conclusion, foresight

SMALL = (
    "train model=classifier profile=smoke budget.images=128 data.image_size=8 model.network.width=4 metrics.every=128"
    " saving.samples=4 tracking.experiment=small"
)


@pytest.fixture
def a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    return tmp_path / "file"


# --- caches and outputs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "below/it"])
def test_a_cache_that_cannot_be_used_is_answered_with_its_variable(below, a_file, monkeypatch):
    monkeypatch.setenv("DARKROOM_CACHE", str(a_file / below))
    for use in (paths.cache, Generative):
        with pytest.raises(UserError, match="set the environment variable DARKROOM_CACHE"):
            use()
    assert a_file.read_text() == "mine"


def test_so_is_one_below_a_home_that_is_not_there(a_file, monkeypatch):
    monkeypatch.delenv("DARKROOM_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(a_file))
    with pytest.raises(UserError, match="DARKROOM_CACHE"):
        paths.cache()


def test_a_cache_of_the_metrics_is_answered_with_its_setting(a_file):
    with pytest.raises(UserError, match=r"type metrics\.cache="):
        Generative(cache=str(a_file))


def test_a_cache_that_can_be_used_is_left_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("DARKROOM_CACHE", str(tmp_path / "new" / "cache"))
    assert paths.cache() == tmp_path / "new" / "cache"
    assert list(paths.cache().iterdir()) == []


OUTPUTS = {
    "train": "x",
    "prepare data=digits": "x",
    "evaluate checkpoint=latest": "x",
    "judge data=digits": "x",
    "generate": "x.png",
    "explain": "x.png",
    "audit": "x.json",
    "report": "x.html",
    "compare format=json": "x.json",
}


@pytest.mark.parametrize("words", OUTPUTS)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(words, a_file, root, typed):
    code, out, err = typed(f"{words} output={a_file}/below/{OUTPUTS[words]}")
    assert code == 2, err
    assert "cannot be written (Not a directory)" in err
    assert out == ""
    assert not (root / "mlruns").exists()


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path):
    outputs.check(tmp_path / "a" / "b", outputs.RUN)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_for_the_checkpoints_is_refused(tmp_path, monkeypatch):
    model = torch.nn.Linear(1000, 1000)
    foresight.check_room(tmp_path / "mlruns", model)
    monkeypatch.setattr(foresight.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 10**6}))
    with pytest.raises(UserError, match="has room for 1 MB, and the checkpoints of this run need about 49"):
        foresight.check_room(tmp_path / "mlruns", model)


# --- the end of a run ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_fails_beside_the_scores_is_a_warning_and_the_run_is_finished(project, runs, typed, monkeypatch, tmp_path):
    from darkroom.reporting import export

    def refuse(*_, **__):
        raise RuntimeError("no [more] of it")

    monkeypatch.setattr("darkroom.tracking.run.register", refuse)
    monkeypatch.setitem(conclusion.PHASES, "explanations", refuse)
    monkeypatch.setattr(export, "leave", refuse)
    code, out, err = typed(f"{SMALL} name=beside tracking.register=digits output={tmp_path / 'result'}")
    assert code == 0, err
    assert "accuracy" in out
    assert err.count("Warning: ") == 3
    for what in ("registering", "explanations", "output"):
        assert f"Warning: {what} came to nothing, and the run is finished without: RuntimeError: no [more] of it" in err
    run = runs()["beside"]
    assert (run.status, run.tags[tag.ENDED]) == ("FINISHED", "finished")
    assert (run.folder / "warnings.log").read_text().count("Traceback") == 3
    assert (run.folder / "metrics.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        "metrics.every=640 tracking.log_every=64",
        "metrics.every=640 tracking.log_every=100000",
        "metrics=none tracking.log_every=100000",
    ],
)
def test_a_run_that_diverges_says_one_sentence_and_sends_nobody_to_a_file_that_is_not_there(
    settings, project, runs, typed
):
    small = SMALL.replace(" metrics.every=128", "").replace("images=128", "images=640")
    code, out, err = typed(f"{small} name=lost optimizer@model.optimizer=sgd model.optimizer.lr=1e38 {settings}")
    assert code == 1
    assert "Traceback" not in out + err
    (sentence,) = [each for each in err.splitlines() if each.startswith("darkroom train: ")]
    assert "became NaN or infinite after" in sentence
    run = runs()["lost"]
    assert run.status == "FAILED"
    assert run.tags[tag.ENDED] == sentence.removeprefix("darkroom train: ")
    assert ("best.ckpt" in sentence) == (run.folder / "checkpoints" / "best.ckpt").exists()
    assert run.tags[tag.HEALTH].startswith("divergence at ")
    code, out, _ = typed("compare runs=lost")
    assert code == 0
    assert "divergence at" in out
    assert "healthy" not in out


def test_where_the_best_state_is_is_said_when_there_is_one(tmp_path):
    best = tmp_path / "best.ckpt"
    assert "best.ckpt" not in str(Diverged.of("loss", 1000, best))
    best.touch()
    assert str(Diverged.of("loss", 1000, best)).endswith(f"{best} holds the best state so far.")


@pytest.mark.parametrize("metrics", ["generative", "autoencoding", "style", "translation"])
def test_splits_that_are_too_small_are_refused_before_the_first_step(metrics, root, typed, empty_database):
    chosen = {
        "generative": "data.image_size=8 data.source.{}=3",
        "autoencoding": "model=vae data.image_size=8 data.source.{}=3",
        "style": "model=adain data=shapes data.source.train=200 data.source.{}=1",
        "translation": "model=cyclegan data=two_shapes data.source.train=200 data.source.{}=1",
    }[metrics]
    for split in ("val", "test"):
        code, out, err = typed(f"train profile=smoke {chosen.format(split)}")
        assert code == 2, err
        assert out == ""
        assert f"data.source.{split}=" in err or metrics == "translation"
    assert [record for record in Store.open(root).runs() if record] == []


# Each file of conf/metrics with a model that it scores, on data of which so many are held out.
WALKED = {
    "generative": "model.generator.width=4 model.discriminator.width=4 data.image_size=8",
    "autoencoding": "model=vae data.image_size=8",
    "classification": "model=classifier data.image_size=8 model.network.width=4",
    "exact_likelihood": "model=pixelrnn data.image_size=8",
    "forecasting": "model=sequence data=moving_digits",
    "inception": "model.generator.width=4 model.discriminator.width=4 data.image_size=8",
    "likelihood": "model=autoencoder data.image_size=8 model.flow_steps=2",
    "lucic2018": "model.generator.width=4 model.discriminator.width=4 data.image_size=8",
    "none": "model=classifier data.image_size=8 model.network.width=4",
    "restoration": "model=denoiser data.image_size=8",
    "several": "+metrics@metrics.generative=generative data.image_size=8 +metrics@metrics.again=generative",
    "style": "model=adain data=shapes data.source.train=200",
    "translation": "model=cyclegan data=two_folders",
}


@pytest.mark.slow
@pytest.mark.parametrize("held_out", [1, 3])
@pytest.mark.parametrize("metrics", WALKED)
def test_metrics_either_score_the_little_there_is_or_refuse_before_the_first_step(
    metrics, held_out, root, store, typed, monkeypatch
):
    monkeypatch.setenv("DARKROOM_CACHE", str(root / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(root / "torch"))
    monkeypatch.setitem(conclusion.PHASES, "latents", lambda _: None)  # a minute, beside the scores
    splits = f"data.source.val={held_out} data.source.test={held_out}"
    if metrics == "translation":
        splits += " " + " ".join(f"data.source.{kind}={folder_of(root / kind, 12)}" for kind in "ab")
        splits += " data.image_size=16"
    every = {"none": "", "several": "metrics.generative.every=64 metrics.again.every=64"}.get(
        metrics, "metrics.every=64"
    )
    code, _, err = typed(
        f"train profile=smoke budget.images=64 saving.samples=4 sentinel.every=32 {WALKED[metrics]} metrics={metrics}"
        f" {every} {splits}"
    )
    ended = [record.status for record in Store.open(root).runs()]
    assert (code, ended) in ((0, ["FINISHED"]), (2, [])), err
    assert "Traceback" not in err


def folder_of(folder, count):
    """A folder of so many small pictures."""
    from darkroom import images

    folder.mkdir()
    for number in range(count):
        picture = torch.randint(0, 256, (16, 16, 3), generator=torch.Generator().manual_seed(number)).byte().numpy()
        images.save_png(folder / f"{number}.png", picture)
    return folder


def test_no_file_of_metrics_is_left_out_of_the_walk():
    assert set(WALKED) == {file.stem for file in (paths.conf() / "metrics").glob("*.yaml")}


@pytest.mark.parametrize("setting", ["neighbours=360", "precision_neighbours=360", "splits=2001", "images=64"])
def test_numbers_that_no_split_could_bear_are_refused_before_the_first_step(setting, root, store, typed):
    code, _, err = typed(f"train profile=smoke data.image_size=8 metrics.{setting}")
    assert code == 2
    assert "too few" in err
    assert store.runs() == []


# --- names of folders, and what is printed ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["what?", "50%41", "a#b", "año 写真", "it's", "a&b;c"])
def test_a_project_may_lie_in_a_folder_of_any_name(name, tmp_path, monkeypatch):
    from darkroom.tracking import run

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = Store.open(tmp_path / name)
    with run.start(store, "e", "n", {"a": 1}, {"a": 1}, system_metrics=None) as opened:
        opened.log_metrics({"train/x": 1.0}, step=1)
    assert Store.open(tmp_path / name).find("n").metrics == {"train/x": 1.0}
    assert store.database == tmp_path / name / "mlruns" / "mlflow.db"
    assert store.database.is_file()
    assert (opened.folder / "config.yaml").is_relative_to(tmp_path / name)


@pytest.mark.parametrize(("text", "said"), [("a\r", "a\\r"), ("a\x1b[1m", "a\\x1b[1m"), ("año 写真 🐈", "año 写真 🐈")])
def test_what_a_terminal_would_act_on_is_written_out(text, said):
    assert printable(text) == said


def test_a_reader_that_leaves_is_no_error():
    program = (
        "import sys; from darkroom import streams; streams.guard();"
        "print('x' * 200_000, flush=True); print('y' * 200_000);"
        "sys.stderr.write('done'); sys.exit(streams.exit_code(0))"
    )
    for unbuffered in ("", "1"):
        reading, writing = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=writing, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
        os.close(writing)
        os.read(reading, 10)
        os.close(reading)
        assert process.communicate()[1] == b"done"
        assert process.returncode == streams.CODE


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    ["--help", "--version", "train --help", "train --hydra-help", "train --cfg job", "edit", "check", "compare"],
)
def test_every_command_is_quiet_for_a_reader_that_has_left(words, project):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "darkroom", *words.split()], stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert "Error" not in done.stderr
    assert done.stderr.count("\n") <= 1
    assert done.returncode == streams.CODE
