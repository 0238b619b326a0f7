import math

import pytest
import torch

from darkroom.latents.inversion import Space, descend, invert, pyramid_distance


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


BASE = torch.linalg.qr(normal(64, 6, seed=7)).Q * 1.5


def linear(latents, vectors):
    """Images that are linear in latents ``(B, 4)`` and in what is told, ``(B, 2)``."""
    told = torch.zeros(len(latents), 2) if vectors is None else vectors
    return (torch.cat([latents, told], dim=1) @ BASE.T).view(-1, 1, 8, 8)


DRAWS = normal(256, 4, seed=1)
SPACE = Space.of(DRAWS)
TOLD = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


def test_of_a_linear_model_the_latents_and_the_condition_are_found():
    latents, condition = normal(3, 4, seed=2), torch.tensor([2, 0, 1])
    found = invert(linear, linear(latents, TOLD[condition]), DRAWS[:16], SPACE, TOLD, steps=200)
    assert found.condition.tolist() == condition.tolist()
    torch.testing.assert_close(found.latents, latents, atol=0.01, rtol=0)
    shown = linear(found.latents, TOLD[found.condition])
    assert torch.equal(found.images, shown.clamp(-1, 1))
    again = invert(linear, linear(latents, TOLD[condition]), DRAWS[:16], SPACE, TOLD, steps=200)
    assert torch.equal(found.latents, again.latents)


def test_what_no_draw_would_be_is_pulled_back_and_a_smaller_radius_pulls_further():
    typical = DRAWS[DRAWS.norm(dim=1).argsort()[128:129]]
    far = 4 * typical
    norms = [
        invert(linear, linear(far, None), DRAWS, Space.of(DRAWS, share), steps=100).latents.norm().item()
        for share in (10.0, 1.0, 0.5)
    ]
    assert norms[0] == pytest.approx(far.norm().item(), rel=0.02)
    assert norms[0] > norms[1] > norms[2]
    kept = invert(linear, linear(typical, None), DRAWS, SPACE, steps=200).latents
    torch.testing.assert_close(kept, typical, atol=0.01, rtol=0)


def test_nearly_all_draws_lie_within_the_radius_of_their_space():
    draws = 3 + normal(4000, 16) * torch.linspace(0.5, 2, 16)
    space = Space.of(draws)
    torch.testing.assert_close(space.middle, torch.full((16,), 3.0), atol=0.15, rtol=0)
    outside = space.outside((draws - space.middle) / space.deviation)
    assert 0.005 < (outside > 0).double().mean() < 0.05
    assert space.radius == pytest.approx(math.sqrt(16 + 2 * math.sqrt(32)))


def test_no_step_leaves_the_latents_as_they_are_and_the_weights_get_no_gradient():
    weights = BASE.clone().requires_grad_(True)
    latents = normal(2, 1, 4, seed=3)
    images = linear(normal(2, 4, seed=4), None)

    def render(latents, vectors):
        return (latents @ weights[:, :4].T).view(-1, 1, 8, 8)

    where = torch.zeros(2, 1, dtype=torch.int64)
    kept, errors = descend(render, images, latents, where, SPACE, None, 0)
    assert kept is latents
    moved, nearer = descend(render, images, latents, where, SPACE, None, 5)
    assert (nearer < errors).all()
    assert not torch.equal(moved, latents)
    assert weights.grad is None


def test_the_pyramid_says_how_far_a_stroke_lies_where_pixels_only_say_that_it_does():
    strokes = torch.full((3, 1, 16, 16), -1.0)
    for index, column in enumerate((4, 6, 12)):
        strokes[index, :, :, column] = 1
    near, far = pyramid_distance(strokes[1:], strokes[:1]).tolist()
    assert (strokes[1:] - strokes[:1]).square().mean(dim=(1, 2, 3)).unique().numel() == 1
    assert near < 0.9 * far
    assert pyramid_distance(strokes, strokes).tolist() == [0, 0, 0]
