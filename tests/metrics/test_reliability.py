import numpy as np
import pytest
import torch

from darkroom.losses.calibration import brier_score, expected_calibration_error
from darkroom.metrics.reliability import Reliability


def certain_of_first(confidences):
    """Shares of two classes, the first of which is named with these confidences."""
    sure = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack([sure, 1 - sure], dim=1)


def test_an_error_that_can_be_computed_by_hand():
    # Ten pictures at 0.95, nine right: 0.05 apart. Ten at 0.75, five right: 0.25. Twenty at 0.55, eleven right: none.
    shares = certain_of_first([0.95] * 10 + [0.75] * 10 + [0.55] * 20)
    labels = torch.tensor([0] * 9 + [1] + [0] * 5 + [1] * 5 + [0] * 11 + [1] * 9)
    expected = (10 * 0.05 + 10 * 0.25 + 20 * 0) / 40
    found = Reliability.of(shares, labels)
    assert expected_calibration_error(shares, labels) == pytest.approx(expected, abs=1e-6)
    assert found.error == pytest.approx(expected, abs=1e-6)
    assert found.counts.tolist() == [0] * 8 + [20, 0, 0, 10, 0, 0, 10]
    assert found.right.tolist() == [0] * 8 + [11, 0, 0, 5, 0, 0, 9]
    assert found.accuracy[[8, 11, 14]] == pytest.approx([0.55, 0.5, 0.9])
    assert found.confidence[[8, 11, 14]] == pytest.approx([0.55, 0.75, 0.95])
    assert np.isnan(found.accuracy[0])


def test_every_picture_is_in_one_bin_and_both_ways_to_the_error_agree():
    generator = torch.Generator().manual_seed(0)
    for scale in (0.1, 3.0, 300.0):  # the last is certain of nearly everything: exactly 1 in float32
        shares = (torch.randn(500, 7, generator=generator) * scale).double().softmax(dim=1)
        labels = torch.randint(0, 7, (500,), generator=generator)
        found = Reliability.of(shares, labels)
        assert found.counts.sum() == 500
        assert found.right.sum() == int((shares.argmax(dim=1) == labels).sum())
        assert found.error == pytest.approx(expected_calibration_error(shares, labels), abs=1e-6)
    assert found.counts[-1] > 400


def test_certainty_shares_the_last_bin():
    # Two right at certainty, one wrong at 0.95: apart their gaps would be 0 and 0.95.
    shares, labels = certain_of_first([1.0, 1.0, 0.95]), torch.tensor([0, 0, 1])
    expected = abs(2 / 3 - (1 + 1 + 0.95) / 3)
    assert expected_calibration_error(shares, labels) == pytest.approx(expected, abs=1e-6)


def test_the_brier_score_of_certainty_and_of_ignorance():
    labels = torch.tensor([0, 1])
    assert brier_score(torch.eye(2), labels) == 0
    assert brier_score(torch.eye(2).flip(0), labels) == 2
    assert brier_score(torch.full((2, 2), 0.5), labels) == 0.5
