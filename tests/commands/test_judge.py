import dataclasses

import pytest
import yaml

from darkroom import judging, lab, paths
from darkroom.config.composing import compose
from darkroom.errors import UserError
from darkroom.judges.certificate import STRENGTHS
from darkroom.judges.judge import Judge, facts_of


def test_a_classifiers_run_becomes_a_judge(project, typed, runs):
    code, out, err = typed(f"judge features={runs()['namer'].run_id[:8]} output=judges")
    assert code == 0, err
    (file,) = (project / "judges").glob("*.safetensors")
    assert file.name.startswith("digits-")
    assert file.with_suffix(".png").is_file()
    judge = Judge.load(file)
    assert judge.architecture == "convnet.ConvNet"
    assert judge.network["width"] == 4
    assert judge.image_shape == (1, 8, 8)
    assert set(judge.certificate.rankings) == set(STRENGTHS)
    assert ("certificate passed" if judge.certificate.passed else "certificate failed: ") in out
    for ranking in judge.certificate.rankings.values():
        assert f"{ranking.spearman:.4f}" in out
    assert f"metrics.judge=judges/{file.name}" in out
    assert "certifying 100%" in err

    again = typed("judge features=namer output=other")
    assert again[0] == 0
    (same,) = (project / "other").glob("*.safetensors")
    assert same.read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("judge", "Give one thing to make a judge of"),
        ("judge data=digits features=namer", "Give one thing to make a judge of"),
        ("judge features=painter", "is a Gan, and a judge is made of a classifier's network"),
        ("judge features=nobody", "nobody"),
        ("judge features=namer output=mlruns/mlflow.db", "is a file"),
        ("judge data=digit", "There is no data 'digit'"),
    ],
)
def test_what_makes_no_judge(line, complaint, project, typed):
    code, _, err = typed(line)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert complaint in err


def test_a_network_with_residuals_is_refused(project, runs, monkeypatch):
    from darkroom.networks.convnet import ConvNet

    monkeypatch.setattr(ConvNet, "plain", False)
    with pytest.raises(UserError, match=r"convnet\.ConvNet has residual connections"):
        judging.freeze_run(runs()["namer"].folder / "checkpoints" / "best.ckpt", None)


@pytest.fixture
def data(project):
    return lab.open_data(compose("train", ["data=digits", "data.image_size=8"])["data"], None)


def metrics(*overrides):
    return compose("train", list(overrides))["metrics"]


def test_a_run_can_judge_a_training(project, runs, data, monkeypatch, tmp_path):
    monkeypatch.setenv("DARKROOM_CACHE", str(tmp_path / "fresh"))
    node = judging.pinned_judge(metrics("metrics.judge=namer"))
    assert node["judge"] == f"{runs()['namer'].run_id}/best"
    said = []
    opened = judging.open_metrics(node, data, said.append)
    (file,) = (tmp_path / "fresh" / "judges" / "of_runs").glob("*.safetensors")
    assert opened.extractor(data).hash == Judge.load(file).hash
    assert "Freezing" in said[0]
    assert runs()["namer"].run_id in facts_of(file)["upbringing"]["made_with"]
    said.clear()
    judging.open_metrics(node, data, said.append)
    assert not any("Freezing" in sentence for sentence in said)


def test_what_cannot_judge_is_found_before_training(project, data):
    with pytest.raises(UserError, match=r"metrics\.judge=resnet is neither domain nor inception"):
        judging.pinned_judge(metrics("metrics.judge=resnet"))
    with pytest.raises(UserError, match="is a Gan"):
        judging.open_metrics(metrics("metrics.judge=painter"), data, print)
    colour = lab.open_data(compose("train", ["data=shapes", "data.source.train=50"])["data"], None)
    with pytest.raises(UserError, match="looks at 1-channel pictures"):
        judging.open_metrics(metrics("metrics.judge=namer"), colour, print)


def test_other_choices_of_a_judge_are_left_alone():
    for name in ("domain", "inception", "judges/digits-2e810dd1.safetensors"):
        node = metrics(f"metrics.judge={name}")
        assert judging.pinned_judge(node) == node
    nothing = metrics("metrics=none")
    assert judging.pinned_judge(nothing) == nothing


def test_shipped_judges_need_no_word(project, data):
    said = []
    judging.open_metrics(metrics(), data, said.append)
    assert said == []


@pytest.mark.parametrize(("taught", "refused"), [("classes", False), ("turns and damage", True)])
def test_a_failed_certificate_is_heeded(taught, refused, project, data, tmp_path):
    judge = Judge.load(judging.open_metrics(metrics(), data, print).extractor(data).save(tmp_path))
    failed = dataclasses.replace(judge.certificate.rankings["blur"], spearman=0.5)
    judge.certificate = dataclasses.replace(judge.certificate, rankings=judge.certificate.rankings | {"blur": failed})
    judge.training_record = dataclasses.replace(judge.training_record, taught=taught)
    path = judge.save(tmp_path)
    said = []
    if refused:
        with pytest.raises(UserError, match=r"failed its certificate \(blur: .* 0.500 only\): type metrics=none"):
            judging.open_metrics(metrics(f"metrics.judge={path}"), data, said.append)
    else:
        judging.open_metrics(metrics(f"metrics.judge={path}"), data, said.append)
        assert len(said) == 1
        assert "with care" in said[0]
    judge.certificate, judge.training_record = None, dataclasses.replace(judge.training_record, taught="classes")
    said.clear()
    judging.open_metrics(metrics(f"metrics.judge={judge.save(tmp_path)}"), data, said.append)
    assert "has no certificate" in said[0]


def test_the_help_of_the_command_composes():
    text = yaml.safe_load((paths.conf() / "judge.yaml").read_text())
    assert {"features", "seed", "output"} <= set(text)


@pytest.mark.slow
def test_a_folder_without_classes_is_scored(project, typed, tmp_path):
    """Pictures of one's own train a generator whose scores are seen through a judge taught by puzzles."""
    from sklearn.datasets import load_digits

    from darkroom.images import save_png

    (tmp_path / "holiday").mkdir()
    for number, picture in enumerate(load_digits().images):
        save_png(tmp_path / "holiday" / f"{number:04}.png", (picture * 255 / 16).round().astype("uint8"))
    code, out, err = typed(
        "train profile=smoke name=holiday data=folder data.source.root=holiday data.image_size=16"
        " data.source.val=0.2 data.source.test=0.2 budget.images=640"
        " metrics.images=100 metrics.test_images=100 metrics.every=640 metrics.kid_subsets=2"
        f" paths.data={tmp_path}"
    )
    assert code == 0, err
    assert "turns and damage" in err
    assert "fid" in out
    assert "inception score" not in out
    assert "label accuracy" not in out
