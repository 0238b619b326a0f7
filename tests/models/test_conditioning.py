import math

import pytest
import torch
from torch import nn

from darkroom.models.conditioning import Conditioned, OneHot, contrastive_loss, near_misses


class Product(nn.Module):
    """Makes of its inputs and a condition the inner product of the two."""

    def forward(self, inputs, condition):
        return inputs.sum(dim=1) if condition is None else (inputs * condition).sum(dim=1)


def test_a_class_is_a_one_among_zeros():
    vectors = OneHot(3)(torch.tensor([2, 0]))
    assert vectors.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert vectors.dtype == torch.float32


def test_a_network_is_given_vectors_for_classes():
    inputs = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    conditional = Conditioned(Product(), OneHot(3))
    assert conditional(inputs, torch.tensor([2, 0])).tolist() == [3, 4]
    assert conditional(inputs, None).tolist() == [6, 15]
    assert Conditioned(Product(), None)(inputs, torch.tensor([2, 0])).tolist() == [6, 15]


def test_contrast_is_the_cross_entropy_of_each_pictures_own_condition():
    logits = torch.randn(5, 5)
    expected = torch.stack([logits[i].logsumexp(0) - logits[i, i] for i in range(5)]).mean()
    torch.testing.assert_close(contrastive_loss(logits, torch.arange(5)), expected)
    told_apart = contrastive_loss(50 * torch.eye(3), torch.arange(3))
    assert told_apart < 1e-6
    blind = contrastive_loss(torch.zeros(4, 4), torch.arange(4))
    assert blind == pytest.approx(math.log(4))


def test_a_process_contrasts_its_part_with_the_conditions_of_all():
    logits, conditions = torch.randn(6, 6), torch.tensor([0, 1, 2, 0, 4, 5])
    parts = [contrastive_loss(logits[first : first + 2], conditions, first) for first in (0, 2, 4)]
    torch.testing.assert_close(torch.stack(parts).mean(), contrastive_loss(logits, conditions))


def test_a_condition_that_others_share_is_not_held_against_them():
    tokens = torch.tensor([[1, 2, 0], [1, 3, 0], [1, 2, 0]])
    found = contrastive_loss(torch.zeros(3, 3), tokens)
    assert found == pytest.approx((2 * math.log(2) + math.log(3)) / 3)
    alike = torch.zeros(4, dtype=torch.int64)
    assert contrastive_loss(torch.randn(4, 4), alike) == 0
    assert contrastive_loss(torch.randn(1, 1), torch.tensor([3])) == 0


def test_a_near_miss_differs_by_one_word_that_another_caption_has_there():
    captions = torch.tensor([[1, 2, 3, 0], [1, 4, 5, 0], [6, 2, 3, 0], [7, 8, 9, 10], [7, 8, 11, 10]])
    missed = near_misses(captions, torch.rand(5, 100, 2)).view(5, 100, 4)
    changed = missed != captions[:, None]
    assert (changed.sum(dim=2) == 1).all()
    for own, misses in zip(captions, missed, strict=True):
        alike = captions[(captions > 0).sum(dim=1) == (own > 0).sum()]
        for miss in misses:
            place = (miss != own).nonzero().item()
            assert miss[place] in alike[:, place]
    assert {tuple(miss) for miss in missed[0].tolist()} == {(1, 4, 3, 0), (1, 2, 5, 0), (6, 2, 3, 0)}


def test_a_caption_without_another_of_its_length_stays():
    captions = torch.tensor([[1, 2, 0], [1, 2, 3], [1, 2, 3]])
    assert torch.equal(near_misses(captions, torch.rand(3, 2, 2)), captions.repeat_interleave(2, 0))


def test_near_misses_are_chosen_with_equal_chances():
    captions = torch.tensor([[1, 2], [3, 2], [4, 5]])
    missed = near_misses(captions, torch.rand(3, 6000, 2))[:6000]
    shares = {
        miss: (missed == torch.tensor(miss)).all(dim=1).double().mean().item() for miss in ((3, 2), (4, 2), (1, 5))
    }
    assert shares == pytest.approx({(3, 2): 0.5, (4, 2): 0.25, (1, 5): 0.25}, abs=0.03)
