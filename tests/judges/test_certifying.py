import dataclasses
import itertools
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from darkroom.errors import UserError
from darkroom.judges.certificate import LEAST, STRENGTHS, Certificate
from darkroom.judges.certifying import certify, damaged, spearman
from darkroom.judges.exhibits import draw_certificate
from darkroom.judges.judge import SHIPPED, Judge


@pytest.fixture
def images():
    return torch.randint(0, 256, (20, 3, 16, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", STRENGTHS)
def test_damage_rises_and_is_the_same_each_time(kind, images, random_state):
    before, original = random_state(), images.clone()
    away = []
    for strength in STRENGTHS[kind][1]:
        worse = damaged(images, kind, strength, seed=3)
        assert (worse.dtype, worse.shape) == (torch.uint8, images.shape)
        assert torch.equal(worse, damaged(images, kind, strength, seed=3))
        away.append((worse.double() - images.double()).square().mean(dim=(1, 2, 3)))
    assert random_state() == before
    assert torch.equal(images, original)
    rising = torch.stack(away, dim=1).diff(dim=1) > 0
    assert rising.double().mean() > 0.98


def test_a_square_lies_in_every_larger_one(images):
    covered = [damaged(images, "occlusion", s, seed=1) != images for s in STRENGTHS["occlusion"][1]]
    hidden = [part.any(dim=1) for part in covered]  # a pixel of exactly the square's grey in all channels stays unseen
    for smaller, larger in pairwise(hidden):
        assert not (smaller & ~larger).any()
    assert [int(part.flatten(1).sum(dim=1).max()) for part in hidden] == [4, 16, 25, 64, 100, 169]


def test_strengths_differ_on_the_smallest_pictures():
    images = torch.randint(0, 256, (2, 1, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for kind, (_, strengths) in STRENGTHS.items():
        assert len({damaged(images, kind, strength, 0).numpy().tobytes() for strength in strengths}) == len(strengths)


def test_correlation_is_spearmans():
    from scipy.stats import spearmanr

    table = np.random.default_rng(0).normal(size=(50, 6))
    table[0, 1] = table[0, 2]
    assert spearman(table) == pytest.approx([spearmanr(row, np.arange(6)).statistic for row in table])
    swapped = np.array([[0.0, 1, 2, 4, 3, 5], [5, 4, 3, 2, 1, 0], [1, 1, 1, 1, 1, 1], [0, 1, np.nan, 3, 4, 5]])
    assert spearman(swapped) == pytest.approx([1 - 6 * 2 / (6 * 35), -1, 0, 0])


def test_a_certificate_is_kept_with_the_judge(judge, data, tmp_path, random_state):
    before = random_state()
    certificate = certify(judge, data, images=60)
    assert random_state() == before
    assert certificate == certify(judge, data, images=60)
    assert certificate != certify(judge, data, images=60, seed=1)
    assert (certificate.images, certificate.split_digest) == (60, data.split_digests["test"])
    unsigned = judge.hash
    judge.certificate = certificate
    loaded = Judge.load(judge.save(tmp_path))
    assert loaded.hash == unsigned
    assert loaded.certificate == certificate
    assert json.loads(json.dumps(certificate.to_dict()))["passed"] == certificate.passed


def test_a_judge_that_sees_nothing_fails(judge, data):
    # What drowns in the bias is not seen by any layer behind it.
    for name, tensor in judge.net.state_dict().items():
        tensor.fill_(1.0 if name.endswith("bias") or name == "feature_std" else 0.0)
    certificate = certify(judge, data, images=40)
    assert not certificate.passed
    assert all(ranking.spearman == 0 and ranking.ranked == 0 for ranking in certificate.rankings.values())
    assert "blur: distance ranks its strengths with a correlation of 0.000 only" in certificate.reasons


def test_the_verdict_follows_from_the_numbers(judge, data):
    certificate = certify(judge, data, images=40)
    good = dataclasses.replace(
        certificate.rankings["blur"], spearman=LEAST, mean_feature_spearman=LEAST, fids=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    )
    good = dataclasses.replace(good, chance=0.0)
    passed = dataclasses.replace(certificate, rankings=dict.fromkeys(STRENGTHS, good))
    assert passed.passed
    assert passed.reasons == ""
    for change in (
        {"spearman": LEAST - 1e-9},
        {"spearman": float("nan")},
        {"mean_feature_spearman": 0.94},
        {"fids": [1.0, 2.0, 2.0, 4.0, 5.0, 6.0]},
        {"fids": [1.0, 2.0, float("nan"), 4.0, 5.0, 6.0]},
    ):
        failed = dataclasses.replace(passed, rankings=passed.rankings | {"jpeg": dataclasses.replace(good, **change)})
        assert not failed.passed, change
        assert failed.reasons.startswith("jpeg: ")
        # and a stored verdict is not believed
        assert not Certificate.from_dict(failed.to_dict() | {"passed": True}).passed
    assert not dataclasses.replace(passed, rankings={"blur": good}).passed


def test_on_few_pictures_a_step_may_fall_by_what_chance_does(judge, data):
    few = certify(judge, data, images=40).rankings["blur"]
    assert few.chance > 0
    good = dataclasses.replace(few, spearman=1.0, mean_feature_spearman=1.0, chance=0.5)
    assert not dataclasses.replace(good, fids=[1.0, 2.0, 1.6, 4.0, 5.0, 6.0]).failures
    for fids in ([1.0, 2.0, 1.4, 4.0, 5.0, 6.0], [1.2, 1.2, 1.2, 1.2, 1.2, 1.1]):
        assert dataclasses.replace(good, fids=fids).failures == ["FID does not rise with every step"]


def test_one_picture_certifies_nothing(judge, make_data):
    with pytest.raises(UserError, match="certify no judge"):
        certify(judge, make_data(test=1))


def test_the_certificate_can_be_looked_at(judge, data):
    certificate = certify(judge, data, images=20)
    picture = draw_certificate(judge, certificate, data)
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.std() > 20


def opened(name, folder, size):
    from darkroom.data.digits import Digits
    from darkroom.data.module import ImageData
    from darkroom.data.shapes import Shapes

    data = ImageData(Digits(), size, 1) if name == "digits" else ImageData(Shapes(), size, 3)
    data.locate(folder, folder)
    data.prepare()
    return data


# MNIST itself may not be at hand; its judge is shown other handwritten digits, of MNIST's size.
@pytest.mark.parametrize(
    ("judge", "data", "size"), [("digits", "digits", 16), ("mnist", "digits", 28), ("shapes", "shapes", 32)]
)
def test_shipped_judges_pass_their_test_again(judge, data, size, tmp_path):
    (path,) = Path(SHIPPED).glob(f"{judge}-*.safetensors")
    certificate = certify(Judge.load(path), opened(data, tmp_path, size), images=120)
    assert certificate.passed, certificate.reasons
    for ranking in certificate.rankings.values():
        assert all(after > before for before, after in itertools.pairwise(ranking.fids))


def test_a_stored_certificate_is_what_one_measures(tmp_path):
    (path,) = Path(SHIPPED).glob("digits-*.safetensors")
    judge = Judge.load(path)
    again = certify(judge, opened("digits", tmp_path, 16))
    assert (again.images, again.split_digest) == (359, judge.certificate.split_digest)
    for kind, ranking in again.rankings.items():
        stored = judge.certificate.rankings[kind]
        assert ranking.spearman == pytest.approx(stored.spearman, abs=0.002)
        assert ranking.fids == pytest.approx(stored.fids, rel=0.02, abs=1e-4)
        assert ranking.distances == pytest.approx(stored.distances, rel=0.01, abs=1e-4)
