import math

import pytest
import torch
from torch import nn

from darkroom.models.conditioning import Conditioned, OneHot, contrast


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
    torch.testing.assert_close(contrast(logits, torch.arange(5)), expected)
    told_apart = contrast(50 * torch.eye(3), torch.arange(3))
    assert told_apart < 1e-6
    blind = contrast(torch.zeros(4, 4), torch.arange(4))
    assert blind == pytest.approx(math.log(4))


def test_a_process_contrasts_its_part_with_the_conditions_of_all():
    logits, conditions = torch.randn(6, 6), torch.tensor([0, 1, 2, 0, 4, 5])
    parts = [contrast(logits[first : first + 2], conditions, first) for first in (0, 2, 4)]
    torch.testing.assert_close(torch.stack(parts).mean(), contrast(logits, conditions))


def test_a_condition_that_others_share_is_not_held_against_them():
    tokens = torch.tensor([[1, 2, 0], [1, 3, 0], [1, 2, 0]])
    found = contrast(torch.zeros(3, 3), tokens)
    assert found == pytest.approx((2 * math.log(2) + math.log(3)) / 3)
    alike = torch.zeros(4, dtype=torch.int64)
    assert contrast(torch.randn(4, 4), alike) == 0
    assert contrast(torch.randn(1, 1), torch.tensor([3])) == 0
