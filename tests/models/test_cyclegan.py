from functools import partial

import pytest
import torch

from darkroom.errors import UserError
from darkroom.losses.penalties import ZeroCentred
from darkroom.models.cyclegan import CycleGan
from darkroom.models.schedule import Schedule
from darkroom.networks.patchgan import PatchGan
from darkroom.networks.style import Transformer

from ..small_models import fit


def model(**changes):
    torch.manual_seed(0)
    parts = {
        "generator": partial(Transformer, width=4, blocks=1),
        "discriminator": partial(PatchGan, width=8, layers=1),
        "optimizer": partial(torch.optim.Adam, lr=0.005, betas=(0.5, 0.99)),
        "schedule": Schedule("constant"),
        "image_shape": (1, 16, 16),
        "class_names": ["bright", "dark"],
        "loss": "non_saturating",
        "identity_weight": 0.0,
    }
    return CycleGan(**{**parts, **changes})


def discs(count, seed):
    """Bright discs on dark ground."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.rand(count, 2, 1, 1, generator=draw) - 0.5
    radii = 0.3 + 0.2 * torch.rand(count, 1, 1, generator=draw)
    line = torch.linspace(-1, 1, 16)
    inside = (line[:, None] - centres[:, 0]) ** 2 + (line - centres[:, 1]) ** 2 < radii**2
    return inside.float()[:, None] * 1.6 - 0.8


def batch(seed, count=8):
    images = torch.cat([discs(count, 2 * seed), -discs(count, 2 * seed + 1)])
    return {"images": images, "labels": torch.arange(2).repeat_interleave(count)}


@pytest.mark.slow
def test_it_learns_to_invert_without_a_pair():
    trained = model()
    fit(trained, [batch(step) for step in range(120)])
    held_out = discs(16, 99_999)
    made = trained.translate(held_out)
    # Left as they are they would be 1.2 from their negatives, and told apart by their means: -0.6 and 0.6.
    assert (made + held_out).abs().mean() < 0.8
    assert made.mean() > 0.3
    assert (trained.translate(made, "b_to_a") - held_out).abs().mean() < 0.4


def test_a_step_reaches_every_network_and_every_network_is_of_its_own():
    trained = model(loss="least_squares")
    torch.nn.init.normal_(trained.network["a_to_b"].output.weight, std=0.1)
    before = {name: weights.clone() for name, weights in trained.network.named_parameters()}
    fit(trained, [batch(0, 2)])
    changed = {
        name.split(".")[0] for name, weights in trained.network.named_parameters() if (weights != before[name]).any()
    }
    assert changed == {"a_to_b", "b_to_a", "judge_a", "judge_b"}
    assert trained.images_seen == 4


def test_generators_teach_discriminators_nothing(monkeypatch):
    trained = model()
    for direction in ("a_to_b", "b_to_a"):
        torch.nn.init.normal_(trained.network[direction].output.weight, std=0.1)
    monkeypatch.setattr(trained, "_judged", lambda name, real, made, kind: real.new_zeros(()))
    monkeypatch.setattr(trained, "count", lambda shown: None)
    trained.training_step(batch(0, 2), 0)["loss"].backward()
    taught = {name.split(".")[0] for name, weights in trained.network.named_parameters() if weights.grad is not None}
    assert taught == {"a_to_b", "b_to_a"}
    assert all(weights.requires_grad for weights in trained.network.parameters())


def test_the_pool_keeps_former_results_and_returns_them():
    trained = model(history=3)
    first = [trained._of_all_times(torch.full((1, 1, 16, 16), float(value)), 0) for value in range(3)]
    assert [shown.mean().item() for shown in first] == [0, 1, 2]  # as long as there is room
    torch.manual_seed(0)
    later = [trained._of_all_times(torch.full((1, 1, 16, 16), float(value)), 0).mean().item() for value in range(3, 40)]
    old = [shown for value, shown in enumerate(later, start=3) if shown != value]
    assert 8 < len(old) < 30
    assert len(set(old)) == len(old)  # each leaves the pool when it is shown
    assert trained.pooled.tolist() == [3, 0]
    alone = model(history=0)
    assert torch.equal(alone._of_all_times(discs(2, 0), 1), discs(2, 0))


def test_at_first_pictures_stay_as_they_are_at_any_size():
    images = discs(2, 0)[:, :, :13, :]
    assert torch.equal(model().translate(images), images)


def test_a_penalty_is_added_to_what_discriminators_lose():
    plain, held = model(), model(penalty=ZeroCentred(100.0, 100.0))
    real, fake = discs(2, 0), -discs(2, 1)
    assert held._judged("judge_a", real, fake, 0) > plain._judged("judge_a", real, fake, 0)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(UserError, match="type data=two_folders"):
        model(class_names=[])
    with pytest.raises(UserError, match="type one of a_to_b, b_to_a"):
        model().translate(discs(1, 0), "there")
    alone = model()
    alone.count = lambda shown: None
    with pytest.raises(UserError, match=r"data\.sampling=balanced"):
        alone.training_step({"images": discs(3, 0), "labels": torch.tensor([0, 0, 1])}, 0)
