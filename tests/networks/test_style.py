import pytest
import torch

from darkroom.networks.patchgan import PatchGan
from darkroom.networks.style import StyleCoder, Transformer, adaptive, statistics


def maps(seed, count=2):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(count, 5, 9, 7, generator=draw, dtype=torch.float64) * (seed + 1) - seed


def test_maps_with_their_own_statistics_are_themselves():
    assert torch.allclose(adaptive(maps(1), [statistics(maps(1))]), maps(1))


def test_maps_take_the_statistics_of_a_style_of_any_size():
    style = maps(3)[:, :, :4]
    for found, wanted in zip(statistics(adaptive(maps(1), [statistics(style)])), statistics(style), strict=True):
        assert torch.allclose(found, wanted, atol=1e-4)


def test_a_mixture_of_styles_is_the_mixture_of_what_each_makes():
    first, second = statistics(maps(2)), statistics(maps(4))
    mixed = adaptive(maps(1), [first, second], [0.25, 0.75])
    apart = 0.25 * adaptive(maps(1), [first]) + 0.75 * adaptive(maps(1), [second])
    assert torch.allclose(mixed, apart)


@pytest.mark.parametrize("size", [(16, 16), (19, 30)])
def test_a_transformer_begins_with_the_picture_itself_at_any_size(size):
    torch.manual_seed(0)
    network = Transformer(3, width=2, blocks=1)
    images = torch.rand(2, 3, *size) * 2 - 1
    assert torch.equal(network(images), images)
    torch.nn.init.normal_(network.output.weight)
    assert network(images).shape == images.shape
    assert (network(images) - images).abs().max() <= 2


def test_the_encoder_reads_at_four_depths_and_the_decoder_comes_back():
    coder = StyleCoder(1, width=2)
    images = torch.rand(1, 1, 24, 16)
    assert [tuple(found.shape[1:]) for found in coder.encoder(images)] == [
        (2, 24, 16),
        (4, 12, 8),
        (8, 6, 4),
        (8, 6, 4),
    ]
    assert coder(images).shape == images.shape


def test_a_patch_discriminator_judges_a_place_by_what_is_around_it():
    torch.manual_seed(0)
    network = PatchGan(3, width=4, layers=1).double()
    images = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    changed = images.clone()
    changed[:, :, -4:, -4:] = 1
    differs = (network(images) != network(changed))[0, 0]
    assert differs.shape == (16, 16)
    assert differs[-1, -1]
    assert not differs[:8].any()
