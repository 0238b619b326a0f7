import functools

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from darkroom.errors import UserError
from darkroom.networks.forecasting import FlatLstm, Futures, Recurrent, SimVp, read_at
from darkroom.networks.memories import ConvGru, ConvLstm, ConvLstmCell, MotionAware, MotionAwareCell

SIZE, STEPS, INPUTS = (8, 12), 6, 3


def recurrent(memory, output="direct", **settings):
    return Recurrent(1, SIZE, functools.partial(memory, layers=2), width=8, patch=4, output=output, **settings)


NETWORKS = {
    "convlstm": lambda: recurrent(ConvLstm),
    "convgru": lambda: recurrent(ConvGru, "residual"),
    "mau": lambda: recurrent(MotionAware),
    "warp": lambda: recurrent(ConvLstm, "warp"),
    "affine": lambda: recurrent(ConvLstm, "affine"),
    "shift": lambda: recurrent(ConvLstm, "shift", parts=2, reach=1),
    "lstm": lambda: FlatLstm(1, SIZE, width=16, output="direct"),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    """A network all of whose parts say something."""
    torch.manual_seed(0)
    made = NETWORKS[request.param]()
    for name, weights in made.named_parameters():
        if not weights.any():
            nn.init.normal_(weights, std=0.02 if "whole" in name else 0.1)
    return made.double()


def sequences(count=2, frames=STEPS + 1):
    return torch.rand(count, frames, 1, *SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1


def shown(first, count=2, steps=STEPS):
    return (torch.arange(steps) < first).expand(count, -1)


def test_a_forecast_does_not_know_what_it_forecasts(network):
    frames = sequences()
    before = network(frames, shown(STEPS)).frames
    changed = frames.clone()
    changed[:, 4:] = 0.5
    after = network(changed, shown(STEPS)).frames
    assert torch.equal(before[:, :4], after[:, :4])
    assert (before[:, 4] != after[:, 4]).any()


def test_a_rollout_does_not_look_at_frames_that_are_not_given(network):
    frames = sequences()
    before = network(frames, shown(INPUTS)).frames
    frames[:, INPUTS:] = torch.nan
    assert torch.equal(network(frames[:, :INPUTS], shown(INPUTS)).frames, before)


def test_a_longer_rollout_begins_as_the_shorter_one(network):
    frames = sequences()
    long = network(frames, shown(INPUTS, steps=20)).frames
    assert torch.equal(long[:, :STEPS], network(frames, shown(INPUTS)).frames)
    assert long.shape[1] == 20


def test_its_own_forecast_is_worth_as_much_as_the_same_frame_given(network):
    if isinstance(network, Recurrent) and network.output in ("warp", "affine"):
        pytest.skip("a warp reads the last true frame, and another frame is another one to read")
    frames = sequences()
    free = network(frames, shown(INPUTS)).frames
    completed = torch.cat([frames[:, :INPUTS], free[:, INPUTS - 1 : -1]], dim=1)
    torch.testing.assert_close(network(completed, shown(STEPS)).frames, free)


def test_sequences_of_a_batch_may_be_given_different_frames(network):
    frames = sequences()
    given = shown(INPUTS).clone()
    given[1, 4] = True
    both = network(frames, given).frames
    for index in range(2):
        alone = network(frames[index : index + 1], given[index : index + 1]).frames
        torch.testing.assert_close(both[index : index + 1], alone)


@pytest.mark.parametrize("output", ["residual", "warp", "affine"])
def test_at_first_everything_stays_as_it_was(output):
    frames = sequences().float()
    forecast = recurrent(MotionAware, output)(frames, shown(INPUTS)).frames
    torch.testing.assert_close(forecast[:, INPUTS:], frames[:, INPUTS - 1 : INPUTS].expand_as(forecast[:, INPUTS:]))


def test_a_warp_of_many_steps_reads_the_frame_once():
    network = recurrent(ConvLstm, "affine").double()
    with torch.no_grad():
        network.whole[-1].bias[2] = -0.5 / (max(SIZE) / 2)  # every pixel comes from half a pixel to its left
    frames = sequences()
    forecast = network(frames, shown(1, steps=4)).frames
    expected = torch.full_like(frames[:, 0], -1)
    expected[..., 2:] = frames[:, 0, ..., :-2]
    torch.testing.assert_close(forecast[:, 3], expected)


def test_parts_are_shifted_each_in_its_own_way():
    network = recurrent(ConvLstm, "shift", parts=2, reach=1).double()
    with torch.no_grad():
        weights = network.whole[-1].bias.view(2, 3, 3)
        weights.zero_()
        weights[0, 1, 0] = weights[1, 0, 1] = 50.0  # from the left, and from above
        network.head[-1].bias.view(3, -1)[0] = 50.0  # all of it is of the first part
        network.head[-1].bias.view(3, -1)[2] = 0.25  # and brighter by a quarter
    frames = sequences()
    expected = torch.full_like(frames[:, 0], -1)
    expected[..., 1:] = frames[:, 0, ..., :-1]
    torch.testing.assert_close(network(frames, shown(1, steps=1)).frames[:, 0], expected + 0.25)
    with torch.no_grad():
        network.head[-1].bias.view(3, -1)[1] = 100.0
    expected = torch.full_like(frames[:, 0], -1)
    expected[..., 1:, :] = frames[:, 0, ..., :-1, :]
    torch.testing.assert_close(network(frames, shown(1, steps=1)).frames[:, 0], expected + 0.25)


def test_maps_are_read_off_by_the_way():
    maps = torch.arange(12.0).view(1, 1, 3, 4)
    way = torch.zeros(1, 2, 3, 4)
    way[:, 0], way[:, 1] = 1, -1  # from the right, and from above
    read = read_at(maps, way, "bilinear", "zeros")[0, 0]
    torch.testing.assert_close(read, torch.tensor([[0.0, 0, 0, 0], [1, 2, 3, 0], [5, 6, 7, 0]]))


def test_actions_steer():
    torch.manual_seed(0)
    network = recurrent(ConvLstm, "direct", action_dim=2)
    for part in (network.entrance, network.exit):
        nn.init.normal_(part.amounts.weight)
    frames, actions = sequences().float(), torch.zeros(2, STEPS, 2)
    still = network(frames, shown(INPUTS), actions).frames
    actions[:, 4, 1] = 1
    turned = network(frames, shown(INPUTS), actions).frames
    assert torch.equal(still[:, :4], turned[:, :4])
    assert (still[:, 4:] != turned[:, 4:]).any()


def test_convolutional_memory_of_one_pixel_is_long_short_term_memory():
    torch.manual_seed(0)
    cell, known = ConvLstmCell(3, 5, 1), nn.LSTMCell(3, 5)
    weights, bias = cell.gates.weight[:, :, 0, 0], cell.gates.bias
    order = [*range(10), *range(15, 20), *range(10, 15)]  # torch's: in, remember, new, out
    with torch.no_grad():
        known.weight_ih.copy_(weights[order, :3])
        known.weight_hh.copy_(weights[order, 3:])
        known.bias_ih.copy_(bias[order])
        known.bias_hh.zero_()
    state, expected = None, (torch.zeros(2, 5), torch.zeros(2, 5))
    for maps in torch.randn(4, 2, 3, 1, 1):
        out, state = cell(maps, state)
        expected = known(maps[:, :, 0, 0], expected)
        torch.testing.assert_close(out[:, :, 0, 0], expected[0])


def test_motion_is_remembered_for_so_many_steps():
    torch.manual_seed(0)
    cell = MotionAwareCell(4, kernel=3, reach=2)
    state = None
    maps = list(torch.randn(8, 1, 4, 3, 3))
    for step, appearance in enumerate(maps):
        _, state = cell(appearance, state)
        kept = min(step + 1, 2)
        assert len(state) == 2 * kept
        for remembered, seen in zip(state[kept:], maps[step + 1 - kept : step + 1], strict=True):
            assert remembered is seen
    assert all(motion.abs().max() < 1 for motion in state[:2])


def test_the_motion_of_when_things_looked_alike_counts():
    torch.manual_seed(0)
    cell = MotionAwareCell(4, kernel=3, reach=3)
    with torch.no_grad():
        cell.likeness.weight.copy_(1000 * torch.eye(4)[:, :, None, None])
        cell.trust.weight.zero_()
        cell.trust.bias.fill_(-1000)  # the last motion is not trusted
        cell.gates.bias[:4] = 1000  # and what is attended to is kept
    motions, appearances = torch.rand(3, 1, 4, 3, 3), torch.randn(3, 1, 4, 3, 3)
    out, state = cell(appearances[1], (*motions, *appearances))
    torch.testing.assert_close(state[2], motions[1])
    _, _, show, seen = cell.gates(torch.cat([appearances[1], motions[1]], dim=1)).chunk(4, dim=1)
    torch.testing.assert_close(out, appearances[1] + show.sigmoid() * seen)


def test_simvp_goes_on_from_what_it_said():
    torch.manual_seed(0)
    network = SimVp(1, SIZE, width=4, hidden=8, blocks=1, inputs=INPUTS)
    frames = sequences().float()
    once = network(frames, shown(INPUTS, steps=2 * INPUTS - 1)).frames
    twice = network(frames, shown(INPUTS, steps=3 * INPUTS - 1)).frames
    assert once.shape[1] == INPUTS
    torch.testing.assert_close(twice[:, :INPUTS], once)
    torch.testing.assert_close(twice[:, INPUTS:], network(once, shown(INPUTS, steps=2 * INPUTS - 1)).frames)


def test_what_the_future_said_is_counted_in_nats():
    torch.manual_seed(0)
    futures = Futures(width=4, latents=3)
    maps, true_maps, noise = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3), torch.randn(2, 3)
    latents, divergence, (expected, read) = futures(maps, true_maps, noise, None)
    distributions = []
    for layer, hidden in ((futures.of_expected, expected), (futures.of_read, read)):
        mean, log_variance = layer(hidden).chunk(2, dim=1)
        distributions.append(Normal(mean, (log_variance / 2).exp()))
    prior, posterior = distributions
    torch.testing.assert_close(divergence, kl_divergence(posterior, prior).sum(dim=1))
    torch.testing.assert_close(latents, posterior.mean + posterior.stddev * noise)
    drawn, nothing, _ = futures(maps, None, noise, None)
    torch.testing.assert_close(drawn, prior.mean + prior.stddev * noise)
    assert not nothing.any()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Recurrent(1, (9, 12), ConvLstm), "does not divide"),
        (lambda: SimVp(1, (9, 12)), "does not divide"),
        (lambda: recurrent(ConvLstm, "flow"), "warp, affine or shift"),
        (lambda: FlatLstm(1, SIZE, output="warp"), "direct or residual"),
        (lambda: SimVp(1, SIZE, action_dim=2), "conditioning=none"),
        (lambda: SimVp(1, SIZE, inputs=INPUTS)(sequences().float(), shown(1)), "takes 3 frames"),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()
