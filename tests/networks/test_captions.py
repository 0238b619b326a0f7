import torch

from darkroom.networks.captions import CaptionEncoder


def test_what_fills_up_a_caption_changes_nothing():
    encode = CaptionEncoder(words=9, dim=6, word_dim=4)
    tokens = torch.tensor([[3, 1, 9], [5, 2, 0]])
    longer = torch.cat([tokens, torch.zeros(2, 4, dtype=torch.int64)], dim=1)
    torch.testing.assert_close(encode(longer), encode(tokens))
    torch.testing.assert_close(encode(tokens)[1:], encode(tokens[1:, :2]))


def test_the_order_of_words_matters():
    encode = CaptionEncoder(words=9, dim=6)
    one, other = encode(torch.tensor([[1, 2, 3], [3, 2, 1]]))
    assert not torch.allclose(one, other, atol=1e-3)


def test_an_empty_caption_is_zero_and_bears_a_gradient():
    encode = CaptionEncoder(words=9, dim=6)
    vectors = encode(torch.tensor([[0, 0], [4, 0]]))
    assert not vectors[0].any()
    vectors.sum().backward()
    assert encode.words.weight.grad[4].any()
    assert not encode.words.weight.grad[0].any()
    assert all(parameter.grad.isfinite().all() for parameter in encode.parameters())
