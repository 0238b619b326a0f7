import numpy as np
import pytest
import torch

from darkroom.editing.editor import Editor
from darkroom.editing.photographs import Picture
from darkroom.errors import UserError
from darkroom.metrics import paired
from darkroom.operations import outcome


def levels(*shape, seed=0, kind=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(kind).max, shape, dtype=kind)


@pytest.mark.parametrize("shape", [(40, 50, 3), (31, 90, 1), (8, 9, 3)])
def test_parts_score_as_the_whole_does(shape, monkeypatch):
    first, second = levels(*shape), levels(*shape, seed=1) // 2 + levels(*shape) // 2
    monkeypatch.setattr(outcome, "PART", 13)
    pair = [torch.from_numpy(part).permute(2, 0, 1)[None] / 127.5 - 1 for part in (first, second)]
    psnr, ssim = outcome.compared(first, second)
    assert psnr == pytest.approx(float(paired.psnr(*pair)), abs=1e-4)
    assert ssim == pytest.approx(float(paired.ssim(*pair)), abs=1e-4)
    assert outcome.compared(first, first) == (outcome.MOST, pytest.approx(1))


def test_depths_are_compared_on_one_scale():
    first = levels(20, 20, 3)
    assert outcome.compared(first, first.astype(np.uint16) * 257)[0] > 90
    assert outcome.compared(first[:, :, :1], first[:, :, :1].repeat(3, axis=2))[0] == outcome.MOST


def test_a_reference_of_another_size_is_not_compared():
    small, large = Picture(levels(8, 8, 3)), Picture(levels(9, 8, 3))
    with pytest.raises(UserError, match="8x8 pixels and the result 8x9"):
        outcome.against(small, large, large, None, "")


def test_holes_are_scored_inside_alone():
    whole = Picture(levels(16, 16, 3))

    def damage(picture, seed):
        holes = torch.zeros(1, 16, 16, dtype=torch.bool)
        holes[:, 4:8] = True
        return torch.where(holes, 0, picture), holes

    truth = torch.from_numpy(whole.levels).permute(2, 0, 1) / 127.5 - 1
    near = Editor(
        lambda colours, holes: torch.where(holes, truth + 4 / 127.5, 9.0),
        damage=damage,
        baseline=lambda colours, holes: colours,
        baseline_name="telea",
    )
    scores = outcome.self_test(whole, near, outcome.Manner(), 0)
    assert scores["self_test"] == pytest.approx(20 * np.log10(255 / 4), abs=0.3)
    assert scores["self_test_telea"] == scores["self_test_damaged"] < 12
    assert scores["self_test_gain"] == pytest.approx(scores["self_test"] - scores["self_test_telea"])
    assert outcome.worse(scores, "telea") is None
    assert "by 0.4 dB" in outcome.worse({"psnr_gain": -0.4}, "telea")


def test_an_enlarger_is_tried_on_what_it_is_to_return():
    picture = Picture(np.kron(levels(8, 10, 3), np.ones((2, 2, 1), np.uint8))[:15])
    editor = Editor(
        lambda colours, mask: colours.repeat_interleave(2, 1).repeat_interleave(2, 2),
        scale=2,
        damage=lambda whole, seed: (whole[:, ::2, ::2], None),
    )
    assert outcome.self_test(picture, editor, outcome.Manner(), 0) == {"self_test": outcome.MOST}


def test_large_pictures_are_left_to_the_network(monkeypatch):
    editor = Editor(lambda c, m: c, baseline=lambda c, m: c * 0 + 1, baseline_name="x")
    picture = Picture(levels(8, 8, 3))
    assert (outcome.classical(picture, editor, None) == 255).all()
    monkeypatch.setattr(outcome, "CLASSICAL", 60)
    assert outcome.classical(picture, editor, None) is None
    assert outcome.classical(picture, Editor(lambda c, m: c), None) is None
