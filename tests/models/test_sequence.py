from functools import partial

import pytest
import torch

from darkroom.errors import UserError
from darkroom.models.curriculum import Curriculum
from darkroom.models.schedule import Schedule
from darkroom.models.sequence import Sequence, explainable_forecast, strip
from darkroom.networks.forecasting import FlatLstm, Forecast, Recurrent, SimVp
from darkroom.networks.memories import ConvLstm

SHAPE = (1, 8, 8)
CONVLSTM = partial(Recurrent, memory=partial(ConvLstm, layers=1), width=8, patch=2)


def sequence(network=CONVLSTM, **settings):
    torch.manual_seed(0)
    adam = partial(torch.optim.Adam, lr=0.01)
    return Sequence(network, adam, Schedule(), SHAPE, [], inputs=settings.pop("inputs", 2), **settings).eval()


class Clips:
    def __init__(self, frames):
        self.frames = frames


@pytest.mark.parametrize(
    ("shows", "fraction", "early", "late"),
    [
        ("all", 0.0, 1.0, 1.0),
        ("none", 0.0, 1.0, 0.0),
        ("scheduled", 0.0, 1.0, 1.0),
        ("scheduled", 0.2, 1.0, 0.5),
        ("scheduled", 0.4, 1.0, 0.0),
        ("reverse", 0.0, 0.5, 0.5),
        ("reverse", 0.2, 0.75, 0.25),
        ("reverse", 1.0, 1.0, 0.0),
    ],
)
def test_a_curriculum_shows_so_many_true_frames(shows, fraction, early, late):
    numbers = torch.rand(4000, 6, generator=torch.Generator().manual_seed(0))
    shown = Curriculum(shows, end=0.4)(numbers, inputs=3, fraction=fraction)
    assert shown[:, 0].all()
    assert shown[:, 1:3].float().mean().item() == pytest.approx(early, abs=0.02)
    assert shown[:, 3:].float().mean().item() == pytest.approx(late, abs=0.02)


def test_what_lies_ahead_of_a_forecast_is_not_looked_at():
    model = sequence()
    torch.nn.init.normal_(model.network.head[-1].weight, std=0.1)
    frames = torch.rand(3, 2, *SHAPE) * 2 - 1
    made = model.forecast(frames, 7)
    assert made.shape == (3, 7, *SHAPE)
    assert made.abs().max() <= 1
    torch.testing.assert_close(model.forecast(frames, 3), made[:, :3])
    torch.testing.assert_close(model.forecast(frames[1:2], 7), made[1:2])


def test_actions_are_counted_in_the_sizes_of_training():
    model = sequence(conditioning="action", actions={"rotate": 30.0, "right": 0.0})
    told = []
    still = Forecast(torch.zeros(1, 2, *SHAPE), torch.zeros(1))
    model.network.forward = lambda frames, given, actions: told.append(actions) or still
    model.forecast(torch.zeros(1, 2, *SHAPE), 1, torch.tensor([[[0.0, 0.0], [15.0, 2.0]]]))
    assert told[0].tolist() == [[[0.0, 0.0], [0.5, 2.0]]]


def test_futures_differ_by_seed_and_by_sequence_and_come_again():
    model = sequence(latents=4)
    first, again = (model.noise(torch.tensor([3, 5]), 6, seed=1) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(model.noise(torch.tensor([5]), 6, seed=1)[0], first[1])
    assert not torch.equal(model.noise(torch.tensor([3, 5]), 6, seed=2), first)
    for part in (model.network.entrance, model.network.exit):
        torch.nn.init.normal_(part.amounts.weight)
    torch.nn.init.normal_(model.network.head[-1].weight)
    frames = torch.rand(2, 2, *SHAPE)
    futures = [model.forecast(frames, 5, noise=model.noise(torch.arange(2), 6, seed)) for seed in (1, 2)]
    assert not torch.equal(*futures)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"curriculum": Curriculum("reverse")},
        {"latents": 3},
        {"conditioning": "action", "actions": {"right": 1.0}},
        {"network": partial(FlatLstm, width=32)},
        {"network": partial(SimVp, width=8, hidden=16, blocks=1, patch=2)},
        {"network": partial(CONVLSTM, output="warp")},
    ],
    ids=["recurrent", "reverse", "latents", "actions", "flat", "simvp", "warp"],
)
def test_every_kind_learns(settings, monkeypatch):
    model = sequence(**settings)
    monkeypatch.setattr(model, "of_this_process", lambda draw, count, *shape: draw(count, *shape))
    monkeypatch.setattr(model, "count", lambda batch: None)
    model.train()
    frames = torch.full((16, 5, *SHAPE), -1.0)
    for step in range(5):  # a bar that moves by a pixel a step
        frames[torch.arange(16), step, 0, :, (torch.arange(16) + step) % 8] = 1
    batch = {"images": frames, "actions": torch.ones(16, 4, 1)}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for step in range(60):
        model.fraction = step / 60
        out = model.training_step(batch, 0)
        optimizer.zero_grad()
        out["loss"].backward()
        optimizer.step()
        losses.append(out["loss"].item())
    assert losses[-1] < 0.6 * losses[0]


def test_rehearsing_changes_nothing_and_costs_a_whole_step():
    model = sequence(latents=2, conditioning="action", actions={"right": 1.0})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.dummy_loss(torch.rand(2, 5, *SHAPE)).backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_an_explained_forecast_is_the_forecast():
    model = sequence()
    torch.nn.init.normal_(model.network.head[-1].weight, std=0.1)
    frames = torch.rand(3, 2, *SHAPE) * 2 - 1
    found = explainable_forecast(model)
    pictures = strip(frames)
    assert pictures.shape == (3, 1, 8, 16)
    expected = (model.forecast(frames, 2)[:, -1, 0] / 2 + 0.5).flatten(1)  # a square a pixel, on so small a frame
    kept = (expected > 0.01) & (expected < 0.99)
    torch.testing.assert_close(found.outputs(pictures).sigmoid()[kept], expected[kept])
    assert found.output_names[9] == "row 1 column 1"
    assert torch.equal(found.outputs(pictures, torch.tensor([9, 9, 9])), found.outputs(pictures)[:, 9])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sequence(conditioning="action"), "data=transforms"),
        (lambda: sequence(partial(FlatLstm, width=8), latents=2), "network@model.network=convlstm"),
        (lambda: sequence().init_from_data(object()), "single images"),
        (lambda: sequence(inputs=5).init_from_data(Clips(5)), "leave nothing to forecast"),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()
