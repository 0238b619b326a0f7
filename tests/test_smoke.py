"""``profile=smoke``: little is trained on and little is scored, whatever the family."""

from types import SimpleNamespace

import pytest
import torch

from darkroom import lab, paths
from darkroom.config.composing import compose
from darkroom.imaging.degradations import Noise
from darkroom.metrics.generative import Generative
from darkroom.metrics.restoration import Restoration

MOST = 100  # pictures of a split that are scored, and drawn
EXPERIMENTS = sorted(
    str(file.relative_to(paths.conf() / "experiment").with_suffix(""))
    for file in (paths.conf() / "experiment").rglob("*.yaml")
)


@pytest.fixture(scope="module")
def smoke():
    """Every experiment's configuration under the profile, by its name."""
    return {name: compose("train", [f"experiment={name}", "profile=smoke"]) for name in EXPERIMENTS}


def test_every_experiment_learns_from_little_and_scores_little(smoke):
    assert len(smoke) > 40
    for name, found in smoke.items():
        assert found["budget"] == {"images": 500, "minutes": None}, name
        assert found["data"]["held_out"] <= MOST, name


def test_no_metric_draws_more_than_it_scores_except_what_its_judge_needs(smoke):
    extractor = SimpleNamespace(feature_dim=64)
    data = SimpleNamespace(held_out=80, pictures=lambda split: range(80))
    counted = 0
    for name, found in smoke.items():
        for metric in lab.metrics_of(found["metrics"]).parts.values():
            if not isinstance(metric, Generative):
                continue
            counted += 1
            metric.extractor = lambda data: extractor
            assert {metric.count(data, split) for split in ("train", "val", "test")} == {80}, name
            extractor.feature_dim = 2048
            assert metric.count(data, "test") == min(metric.test_images or 80, 2049), name
            extractor.feature_dim = 64
    assert counted > 10


@pytest.mark.parametrize("split", ["val", "test"])
def test_restorers_are_shown_the_middle_of_one_photograph(split, tmp_path, monkeypatch):
    monkeypatch.setenv("DARKROOM_CACHE", str(tmp_path))
    found = compose("train", ["experiment=restorer/denoise_naf", "profile=smoke", "data.source.patches=50"])
    data = lab.open_data(found["data"], str(tmp_path))
    asked = []

    class Lazy(torch.nn.Module):
        device, degradation, averaged = torch.device("cpu"), Noise(), False

        def restore(self, damaged, labels=None):
            asked.append(damaged.shape)
            return damaged

    scores = Restoration(whole=found["metrics"]["whole"]).score(Lazy(), data, split, exact=True)
    assert scores.protocol["real_images"] == 1
    assert scores.protocol["image_size"] == "the middle of whole"
    assert max(max(shape[2:]) for shape in asked) <= 4 * 64
    assert sum(shape[0] * shape[2] * shape[3] for shape in asked) <= 6 * (4 * 64) ** 2
    full = Restoration(whole=True, images=1).score(Lazy(), data.everything, split)
    assert full.protocol["image_size"] == "whole"
