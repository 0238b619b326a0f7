import dataclasses

import numpy as np
import pytest
import torch

from darkroom.data.clips import TensorClips
from darkroom.images import from_uint8
from darkroom.imaging.motion import MOTIONS, moved
from darkroom.metrics.forecasting import Forecasting

FRAMES, INPUTS, SIDE = 6, 2, 12


@dataclasses.dataclass
class Data:
    """Clips in three splits; those of train are black."""

    clips: TensorClips
    actions: dict = dataclasses.field(default_factory=dict)
    name: str = "made"
    image_shape: tuple = (1, SIDE, SIDE)

    @property
    def split_digests(self):
        return {"train": "black", "test": self.clips.digest}

    def pictures(self, split):
        return TensorClips(torch.zeros(4, FRAMES, 1, SIDE, SIDE, dtype=torch.uint8)) if split == "train" else self.clips


class Model:
    """A model whose forecast is any function of the frames that it is shown."""

    device, averaged, inputs, latents, actions = torch.device("cpu"), False, INPUTS, 0, {}

    def __init__(self, say):
        self.say = say

    def forecast(self, frames, steps, actions=None, noise=None):
        return self.say(frames, steps) if noise is None else self.say(frames, steps, noise)


def fading():
    """Eight clips that grow brighter by the same amount from frame to frame, none of them alike."""
    numbers = np.random.default_rng(0).integers(10, 60, (8, 1, 1, SIDE, SIDE))
    return Data(TensorClips(torch.from_numpy((numbers + 30 * np.arange(FRAMES)[:, None, None, None]).astype(np.uint8))))


def copying(frames, steps):
    return frames[:, -1:].expand(-1, steps, -1, -1, -1)


def perfect(frames, steps):
    ahead = torch.arange(1, steps + 1)[:, None, None, None]
    return frames[:, -1:] + ahead * (frames[:, -1:] - frames[:, -2:-1])


def scored(say, data=None, **settings):
    return Forecasting(**settings).score(Model(say), data or fading(), "test", exact=True)


def test_a_model_that_copies_scores_as_copying_does():
    values = scored(copying).values
    for measure in ("mse", "mae", "psnr", "ssim", "mse_frame", "mae_frame", "mse_at_1", "mse_at_4"):
        assert values[measure] == values[f"{measure}_copy"]


def test_errors_are_of_pictures_in_0_to_1_and_have_two_names():
    values = scored(copying).values
    steps = 30 / 255 * np.arange(1, 5)
    assert values["mse"] == pytest.approx((steps**2).mean(), rel=1e-5)
    assert values["mse_at_3"] == pytest.approx(steps[2] ** 2, rel=1e-5)
    assert values["mae"] == pytest.approx(steps.mean(), rel=1e-5)
    assert values["mse_frame"] == pytest.approx((steps**2).mean() * SIDE**2, rel=1e-5)
    assert values["psnr"] == pytest.approx((-20 * np.log10(steps)).mean(), rel=1e-5)


def test_what_learns_nothing_is_what_its_name_says():
    data = fading()
    frames = from_uint8(data.clips.pixels)
    shown, true = frames[:, :INPUTS], frames[:, INPUTS:]
    values = scored(copying, data).values
    expected = {"black": -torch.ones_like(true), "mean_image": -torch.ones_like(true)}  # train is black
    expected["mean_input"] = shown.mean(dim=1, keepdim=True).expand_as(true)
    for name, frames in expected.items():
        assert values[f"mse_{name}"] == pytest.approx(((frames - true) / 2).square().mean().item(), rel=1e-5)
    assert values["mse_linear"] == pytest.approx(0, abs=1e-12)  # and these clips are a straight line


def test_gains_are_over_the_best_that_learns_nothing():
    data = fading()
    data.clips.pixels[:, -1] = 0  # in the end the black frame is right, and nothing else is
    values = scored(copying, data).values
    best = min(values[f"mse_{name}"] for name in ("black", "mean_image", "mean_input", "copy", "linear"))
    assert values["gain"] == pytest.approx(best / values["mse"])
    assert values["gain_least"] == 0


def test_a_perfect_forecast_counts_a_hundred_decibels():
    values = scored(perfect).values
    assert values["mse"] == pytest.approx(0, abs=1e-12)
    assert values["psnr"] == 100
    assert values["ssim"] == pytest.approx(1)


def test_of_several_futures_the_best_of_each_sequence_counts():
    def one_of_two(frames, steps, noise):
        return torch.where(noise[:, :1, :, None, None] == 1, perfect(frames, steps), -torch.ones(()))

    def noise(indices, steps, seed):  # future 0 is right for odd sequences, future 1 for even ones
        return ((indices + seed) % 2).float().view(-1, 1, 1).expand(-1, steps, 1)

    model, data = Model(one_of_two), fading()
    model.latents, model.noise = 1, noise
    values = Forecasting(futures=2).score(model, data, "test", exact=True).values
    assert values["best_mse"] == pytest.approx(0, abs=1e-12)
    assert values["mse"] == pytest.approx(values["mse_black"] / 2, rel=0.2)
    alone = Forecasting(futures=1).score(model, data, "test", exact=True).values
    assert alone["best_mse"] == pytest.approx(alone["mse"])


def test_what_is_told_to_move_is_held_against_bicubic_motion():
    pixels = torch.zeros(2, FRAMES, 1, SIDE, SIDE, dtype=torch.uint8)
    pixels[:, :, :, 5:8, 4:6] = 255
    for step in range(1, FRAMES):
        pixels[:, step] = pixels[:, step - 1].roll(1, dims=-1)  # a pixel to the right
    actions = torch.zeros(2, FRAMES - 1, 4)
    actions[..., MOTIONS.index("right")] = 1
    data = Data(TensorClips(pixels, actions=actions), dict.fromkeys(MOTIONS, 1.0))
    values = scored(copying, data).values
    assert values["psnr_bicubic"] == 100
    assert values["psnr_lead"] == pytest.approx(values["psnr"] - 100)
    assert values["psnr_lead_least"] == pytest.approx(-20 * np.log10((12 / SIDE**2) ** 0.5) - 100)
    still = torch.where(torch.arange(2)[:, None, None] == 0, 0.0, actions)  # the first clip is told of no motion
    data = Data(TensorClips(pixels, actions=still), dict.fromkeys(MOTIONS, 1.0))
    assert scored(copying, data).values["psnr_lead"] == pytest.approx(values["psnr_lead"])
    shown = from_uint8(pixels[:, 1])
    assert torch.equal(moved(shown, actions[:, 0]), from_uint8(pixels[:, 2]))


def test_pictures_show_the_truth_above_the_forecast():
    scores = scored(copying)
    film = scores.animations["forecasts"]
    assert film.dtype == np.uint8
    assert len(film) == FRAMES
    assert film.shape[1] == 2 + 2 * (6 * SIDE + 2)  # two rows of pictures, enlarged six times
    above, below = film[:, 2 : 2 + 6 * SIDE], film[:, 4 + 6 * SIDE : 4 + 12 * SIDE]
    assert np.array_equal(above[INPUTS - 1], below[-1])  # the last frame shown is what is forecast
    assert not np.array_equal(above[-1], below[-1])
    assert set(scores.pictures) == {"forecasts", "horizons"}


def test_the_protocol_says_what_was_shown_and_how_far_ahead_was_asked():
    protocol = scored(copying).protocol
    assert (protocol["inputs"], protocol["horizon"], protocol["told"]) == (INPUTS, FRAMES - INPUTS, "nothing")
