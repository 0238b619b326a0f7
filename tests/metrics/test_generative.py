import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from darkroom.errors import UserError
from darkroom.judges.judge import NoJudge
from darkroom.metrics import generative, protocol
from darkroom.metrics.batches import as_often
from darkroom.metrics.generative import Generative, _classes_drawn

SMALL = {"images": 90, "test_images": 120, "kid_subsets": 3, "kid_subset_size": 50}


@pytest.fixture
def make_metric(judge, tmp_path):
    path = judge.save(tmp_path)

    def make(**changes):
        return Generative(**(SMALL | {"judge": str(path), "cache": str(tmp_path / "cache")} | changes))

    return make


@pytest.fixture
def metric(make_metric):
    return make_metric()


def test_what_is_said_while_training(metric, painter, data):
    assert metric.objective == ("fid", "min")
    scores = metric.score(painter, data, "val")
    assert scores.values.keys() == {
        "fid", "kid", "inception_score", "precision", "recall", "density", "coverage",
        "label_accuracy", "class_entropy", "class_share_error", "modes", "fid_oracle", "fid_noise",
    }  # fmt: skip
    assert 0 <= scores.values["fid"] < scores.values["fid_noise"]
    assert scores.protocol["generated_images"] == 90
    assert scores.protocol["real_images"] == 120
    assert scores.protocol["library"] == "torchmetrics"
    assert scores.protocol["averaged_weights"] is True
    assert scores.protocol["data_digest"] == data.split_digests["val"]
    assert len(scores.protocol["extractor_hash"]) == 64


def test_what_is_said_for_the_record(metric, painter, data):
    exact, quick = (metric.score(painter, data, "test", exact=exact) for exact in (True, False))
    assert exact.protocol["library"] == "torch-fidelity"
    for name, value in quick.values.items():
        assert exact.values[name] == pytest.approx(value, rel=1e-6), name
    for row in ("oracle", "noise"):
        measures = ("fid", "kid", "inception_score", "precision", "recall", "density", "coverage")
        assert {f"{measure}_{row}" for measure in measures} <= exact.values.keys()
    assert exact.protocol_digest == quick.protocol_digest
    assert protocol.differences(exact.protocol, quick.protocol) == []


def test_scoring_leaves_no_trace(metric, painter, data, random_state):
    painter.train()
    painter.frozen.eval()
    before = random_state()
    for exact in (False, True):
        metric.score(painter, data, "val", exact=exact)
    assert random_state() == before
    assert painter.training
    assert not painter.frozen.training
    assert torch.is_grad_enabled()


def test_the_same_scores_whatever_the_chunks(make_metric, painter, data, tmp_path, monkeypatch):
    whole = make_metric().score(painter, data, "val").values
    painter.largest = 0
    monkeypatch.setattr(generative, "CHUNK", 17)
    parts = make_metric(cache=str(tmp_path / "other")).score(painter, data, "val").values
    assert painter.largest == 17
    for name, value in whole.items():
        assert parts[name] == pytest.approx(value, rel=1e-4), name


def test_real_pictures_are_looked_at_once(make_metric, painter, data):
    first = make_metric().score(painter, data, "val")
    seen = data.pictures("val").looked_at, data.pictures("train").looked_at
    assert seen == (120, 90)
    second = make_metric().score(painter, data, "val")
    assert (data.pictures("val").looked_at, data.pictures("train").looked_at) == seen
    assert second.values == first.values


def test_nothing_stale_is_ever_used(make_metric, make_data, make_judge, painter, tmp_path, monkeypatch):
    values = set()

    def fid(data, **changes):
        values.add(make_metric(**changes).score(painter, data, "val").values["fid"])

    fid(make_data())
    fid(make_data(seed=1))  # other pictures under the same name
    fid(make_data(), judge=str(make_judge(seed=1).save(tmp_path)))
    assert len(values) == 3
    fid(make_data())
    assert len(values) == 3
    data = make_data()  # other settings must not find the rows of the first
    monkeypatch.setattr("darkroom.digests.of_code", lambda: "other code")
    looked_at = data.pictures("val").looked_at
    make_metric().score(painter, data, "val")
    assert data.pictures("val").looked_at == looked_at + len(data.pictures("val"))
    for changes in ({"neighbours": 1}, {"precision_neighbours": 1}, {"splits": 3}, {"kid_subsets": 2}, {"seed": 1}):
        found = make_metric(**changes).score(painter, data, "val", exact=True).values
        fresh = (
            make_metric(**changes, cache=str(tmp_path / str(changes))).score(painter, data, "val", exact=True).values
        )
        assert found == fresh, changes


def test_neighbourhoods_are_of_equal_numbers(make_metric, make_data, painter):
    from darkroom.metrics import neighbours

    data = make_data()
    metric = make_metric(images=300)
    scores = metric.score(painter, data, "val")  # 300 drawn, 120 real
    painter.eval()
    with torch.no_grad():
        look = metric.extractor(data).features
        drawn = look(painter.sample(torch.arange(120), 0, as_often(data, painter.classes, 120)))
        real = look(data.pictures("val").pixels)
    expected = neighbours.compare(neighbours.manifold(drawn), neighbours.manifold(real))
    assert {name: scores.values[name] for name in expected} == pytest.approx(expected, abs=0.01)
    assert scores.protocol["neighbourhood_images"] == 120


@pytest.mark.parametrize("damage", ["cut", "flip", "rename"])
def test_a_damaged_cache_is_made_again(damage, make_metric, make_data, painter, tmp_path, caplog):
    data = make_data()
    first = make_metric().score(painter, data, "val").values
    files = sorted((tmp_path / "cache" / "references").glob("*.safetensors"))
    assert [path.name.split("-")[0] for path in files] == ["real", "rows"]
    if damage == "rename":
        make_metric().score(painter, make_data(seed=1), "val")
        for mine, other in zip(files, sorted({*(tmp_path / "cache" / "references").iterdir()} - {*files}), strict=True):
            mine.write_bytes(other.read_bytes())
    for path in files:
        content = bytearray(path.read_bytes())
        if damage == "flip":
            content[-3] ^= 64
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    with caplog.at_level(logging.WARNING):
        assert make_metric().score(painter, data, "val").values == first
    assert sum("again" in record.message for record in caplog.records) == 2


def test_the_protocol_tells_scores_apart(make_metric, make_data, make_judge, painter, tmp_path):
    data = make_data()
    one = make_metric().score(painter, data, "val")
    assert make_metric().score(painter, data, "val").protocol_digest == one.protocol_digest
    others = {
        "generated images": make_metric(images=80).score(painter, data, "val"),
        "split": make_metric(test_images=90).score(painter, data, "test"),
        "data digest": make_metric().score(painter, make_data(seed=1), "val"),
        "extractor hash": make_metric(judge=str(make_judge(seed=1).save(tmp_path))).score(painter, data, "val"),
        "seed": make_metric(seed=1).score(painter, data, "val"),
        "inception score splits": make_metric(splits=2).score(painter, data, "val"),
        "kid subset size": make_metric(kid_subset_size=20).score(painter, data, "val"),
    }
    assert len({scores.protocol_digest for scores in others.values()} | {one.protocol_digest}) == 8
    for what, other in others.items():
        sentences = protocol.differences(one.protocol, other.protocol)
        assert any(sentence.startswith(what + " is ") for sentence in sentences), what
    assert protocol.differences(one.protocol, others["generated images"].protocol) == [
        "generated images is 90 in one and 80 in the other"
    ]


def test_fewer_training_pictures_are_the_same_protocol(make_metric, make_data, painter):
    few, all_of_them = make_data(), make_data()
    few.splits["train"].pixels = few.splits["train"].pixels[:40]
    few.split_digests["train"] = "0" * 64
    a, b = (make_metric().score(painter, data, "val") for data in (few, all_of_them))
    assert a.protocol_digest == b.protocol_digest
    assert a.values["fid"] == b.values["fid"]
    assert (a.protocol["oracle_images"], b.protocol["oracle_images"]) == (40, 90)


def test_floats_are_rounded_to_the_bytes_of_a_file(metric, make_painter, data):
    class Saved(make_painter):
        def sample(self, indices, seed, labels=None):
            pictures = super().sample(indices, seed, labels)
            return ((pictures + 1) * 127.5).round() / 127.5 - 1

    drawn, saved = (metric.score(model, data, "val").values for model in (make_painter(), Saved()))
    assert drawn == saved

    class Truncated(make_painter):
        def sample(self, indices, seed, labels=None):
            pictures = super().sample(indices, seed, labels)
            return ((pictures + 1) * 127.5).floor() / 127.5 - 1

    assert metric.score(Truncated(), data, "val").values["fid"] != drawn["fid"]


def test_floats_may_be_left_as_they_are(metric, make_metric, make_painter, data):
    exact = make_metric(value_type="float")

    class Saved(make_painter):
        def sample(self, indices, seed, labels=None):
            pictures = super().sample(indices, seed, labels)
            return ((pictures + 1) * 127.5).round() / 127.5 - 1

    class Beyond(make_painter):
        def sample(self, indices, seed, labels=None):
            pictures = super().sample(indices, seed, labels)
            return torch.where(pictures == 1, 1.5, pictures)

    rounded, unrounded = (one.score(make_painter(), data, "val") for one in (metric, exact))
    assert (rounded.protocol["value_type"], unrounded.protocol["value_type"]) == ("uint8, rounded", "float")
    assert protocol.differences(rounded.protocol, unrounded.protocol) == [
        "value type is uint8, rounded in one and float in the other"
    ]
    assert unrounded.values["fid"] != rounded.values["fid"]
    assert unrounded.values["fid"] == pytest.approx(rounded.values["fid"], rel=0.05)
    saved = exact.score(Saved(), data, "val").values
    for name, value in rounded.values.items():
        assert saved[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    assert exact.score(Beyond(), data, "val").values == unrounded.values, "no pixel is brighter than white"
    read = exact.score_images(data.pictures("val"), None, data, "val")
    assert read.protocol["value_type"] == "uint8, rounded"


def test_pictures_of_others(metric, painter, data):
    from darkroom.images import to_uint8

    expected = metric.score(painter, data, "test", exact=True)
    asked = as_often(data, painter.classes, 120)
    painter.eval()
    with torch.no_grad():
        pictures = to_uint8(painter.sample(torch.arange(120), 0, asked))
    for given in (iter(pictures), pictures.split(50), [pictures]):
        found = metric.score_images(given, asked, data, "test")
        assert found.values == pytest.approx(expected.values, rel=1e-5)
    assert found.protocol["generated_images"] == 120
    assert "averaged weights is True in one and unknown in the other" in protocol.differences(
        expected.protocol, found.protocol
    )
    real = metric.score_images(data.pictures("val"), None, data, "val")
    assert real.values["fid"] == pytest.approx(0, abs=1e-6)
    assert "label_accuracy" not in real.values

    with pytest.raises(UserError, match=r"expected uint8 pictures of shape \(1, 12, 12\)"):
        metric.score_images([pictures[:, :, :10]], None, data, "test")
    with pytest.raises(UserError, match="expected uint8"):
        metric.score_images([pictures.float()], None, data, "test")
    with pytest.raises(UserError, match="8 pictures to score are too few"):
        metric.score_images([pictures[:8]], None, data, "test")
    with pytest.raises(UserError, match="120 pictures to score and 7 labels"):
        metric.score_images([pictures], asked[:7], data, "test")
    with pytest.raises(UserError, match="no pictures to score"):
        metric.score_images([], None, data, "test")


def test_a_conditional_model_is_held_to_its_word(make_metric, make_painter, data, tmp_path):
    from darkroom.judges.teaching import train_judge

    judge = train_judge(data, images=3000, batch_size=30, width=4, feature_dim=8)
    metric = make_metric(judge=str(judge.save(tmp_path / "judges")))
    right, wrong = (metric.score(make_painter(shift=shift), data, "val").values for shift in (0, 1))
    assert right["label_accuracy"] > 0.95
    assert wrong["label_accuracy"] < 0.05
    assert right["modes"] == wrong["modes"] == 3
    assert right["class_entropy"] == pytest.approx(1, abs=0.01)

    class OneThing(make_painter):
        def sample(self, indices, seed, labels=None):
            return super().sample(indices, seed, torch.zeros_like(indices))

    collapsed = metric.score(OneThing(classes=0), data, "val").values
    assert "label_accuracy" not in collapsed
    assert collapsed["modes"] == 1
    assert collapsed["class_entropy"] < 0.2
    assert collapsed["coverage"] < right["coverage"]
    assert collapsed["fid"] > right["fid"]


def test_classes_are_asked_for_as_often_as_training_shows_them():
    labels = torch.tensor([0] * 60 + [2] * 30 + [3] * 10)
    data = SimpleNamespace(class_names=list("abcd"), pictures=lambda split: SimpleNamespace(labels=labels))
    asked = as_often(data, 4, 1000)
    assert torch.bincount(asked, minlength=4).tolist() == pytest.approx([600, 0, 300, 100], abs=2)
    assert torch.bincount(asked[500:600], minlength=4).tolist() == pytest.approx([60, 0, 30, 10], abs=2)
    labels = None
    assert as_often(data, 4, 6).tolist() == [0, 1, 2, 3, 0, 1]


def test_the_share_of_the_class_that_is_furthest_off():
    logits = torch.nn.functional.one_hot(torch.tensor([0] * 5 + [1] * 3 + [2] * 2), 4).float()
    expected = torch.tensor([0.5, 0.4, 0.1, 0.0])
    assert _classes_drawn(logits, None, expected)["class_share_error"] == pytest.approx(1)  # 0.2 instead of 0.1
    assert _classes_drawn(logits, None, torch.tensor([0.5, 0.3, 0.2, 0.0]))["class_share_error"] == pytest.approx(
        0, abs=1e-6
    )
    assert "class_share_error" not in _classes_drawn(logits, None, None)


def test_what_is_no_picture_has_no_score(metric, make_painter, data):
    class Diverged(make_painter):
        def sample(self, indices, seed, labels=None):
            return super().sample(indices, seed, labels) * float("nan")

    with pytest.raises(UserError, match="values that are not finite"):
        metric.score(Diverged(), data, "val")


def test_progress_counts_pictures(metric, painter, data):
    calls = []
    metric.score(painter, data, "val", progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (90, 90)


def test_too_few_pictures(make_metric, make_data, painter, data):
    with pytest.raises(UserError, match=r"8 pictures drawn are too few .*expected at least 9, so raise metrics.images"):
        make_metric(images=8).score(painter, data, "val")
    with pytest.raises(UserError, match="7 pictures in the val split are too few"):
        make_metric().score(painter, make_data(val=7), "val")
    assert make_metric(test_images=None).count(data, "test") == 150


def test_a_missing_judge_is_known_before_training(make_metric, data):
    with pytest.raises(NoJudge):
        make_metric(judge="domain").extractor(data)


def test_nothing_scores_nothing(painter, data):
    from darkroom.metrics.nothing import Nothing

    nothing = Nothing()
    assert nothing.objective is None
    assert nothing.score(painter, data, "val").values == {}


def test_importing_is_cheap():
    program = """
import sys
import darkroom.metrics.generative, darkroom.metrics.classification, darkroom.judges.judge, darkroom.judges.teaching
print([name for name in ("torchmetrics", "torch_fidelity", "torchvision", "scipy", "sklearn") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
