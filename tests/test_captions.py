import torch

from darkroom.captions import Vocabulary, words_of


def test_words_are_small_letters_and_nothing_else():
    assert words_of("A Red-Ring, 2x above; the EDGE's") == ["a", "red", "ring", "2x", "above", "the", "edge", "s"]
    assert words_of("  …  ") == []
    assert words_of("été_ça") == ["été", "ça"]


def test_tokens_are_places_in_the_sorted_list_and_zero_fills_up():
    vocabulary = Vocabulary.of(["a red ring", "A blue ring."])
    assert vocabulary.words == ["a", "blue", "red", "ring"]
    tokens = vocabulary.tokens(["a red ring", "Ring"])
    assert tokens.dtype == torch.int64
    assert tokens.tolist() == [[1, 3, 4], [4, 0, 0]]
    assert Vocabulary(vocabulary.words).tokens(["blue"]).tolist() == [[2]]


def test_unknown_words_are_named_once_and_left_out():
    vocabulary = Vocabulary.of(["a red ring"])
    assert vocabulary.unknown("a green ring beside a green cross") == ["green", "beside", "cross"]
    assert vocabulary.tokens(["a green ring"]).tolist() == [[1, 3]]
    assert len(vocabulary) == 3
    assert not Vocabulary()
