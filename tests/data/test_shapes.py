import numpy as np
import pytest
import torch

from darkroom.data.shapes import BACKGROUND, COLOURS, SHAPES, Shapes
from darkroom.errors import UserError


@pytest.fixture(scope="module")
def drawn():
    shapes = Shapes(train=400, val=50, test=50)
    indices = np.arange(300)
    return shapes, shapes.draw(indices, 32), [shapes.attributes(index) for index in range(300)]


def cover(picture):
    return (picture.float() - torch.tensor(BACKGROUND)[:, None, None]).abs().amax(0) > 12


def test_the_colour_at_the_centre_is_the_colour_named(drawn):
    _, pixels, attributes = drawn
    for picture, facts in zip(pixels, attributes, strict=True):
        centre = picture[:, int(facts["y"] * 32), int(facts["x"] * 32)]
        colour = BACKGROUND if facts["shape"] == "ring" else COLOURS[facts["colour"]]
        assert centre.tolist() == list(colour)


def test_the_middle_of_the_ink_is_where_the_attributes_say(drawn):
    _, pixels, attributes = drawn
    for picture, facts in zip(pixels, attributes, strict=True):
        rows, columns = torch.nonzero(cover(picture)).float().add(0.5).mean(0).div(32).tolist()
        assert abs(columns - facts["x"]) < 0.03
        if facts["shape"] != "triangle":  # whose outline reaches higher than low about its centre
            assert abs(rows - facts["y"]) < 0.03
        words = facts["position"].split()
        if "left" in words or "right" in words:
            assert (facts["x"] < 0.5) == ("left" in words)
        if "top" in words or "bottom" in words:
            assert (facts["y"] < 0.5) == ("top" in words)


def test_large_ones_cover_more_than_small_ones(drawn):
    _, pixels, attributes = drawn
    area = torch.tensor([int(cover(picture).sum()) for picture in pixels])
    for shape in SHAPES:
        small, large = (
            [area[i] for i, facts in enumerate(attributes) if (facts["shape"], facts["size"]) == (shape, size)]
            for size in ("small", "large")
        )
        assert max(small) < min(large)


def test_a_circle_has_the_area_of_a_circle():
    shapes = Shapes()
    index = next(i for i in range(100) if shapes.attributes(i)["shape"] == "circle")
    picture = shapes.draw(np.array([index]), 64)[0].float()
    colour = torch.tensor(COLOURS[shapes.attributes(index)["colour"]]).float()
    background = torch.tensor(BACKGROUND).float()
    channel = int((colour - background).abs().argmax())
    area = ((picture[channel] - background[channel]) / (colour - background)[channel]).sum()
    radius = shapes.attributes(index)["radius"] * 64
    assert float(area) == pytest.approx(np.pi * radius**2, rel=0.01)


def test_nothing_touches_the_edge(drawn):
    _, pixels, _ = drawn
    frame = torch.ones(32, 32, dtype=torch.bool)
    frame[1:-1, 1:-1] = False
    assert not any(bool((cover(picture) & frame).any()) for picture in pixels)


def test_a_picture_depends_on_seed_and_index_alone(drawn):
    shapes, pixels, _ = drawn
    chosen = np.array([299, 5, 5])
    assert shapes.draw(chosen, 32).equal(pixels[chosen])
    assert not Shapes(seed=1).draw(np.arange(10), 32).equal(pixels[:10])


def test_the_digest_is_the_same_on_every_machine(tmp_path):
    test = Shapes(train=20, val=5, test=5).load(tmp_path, tmp_path, None, None).parts["test"]
    assert test.digest == "34264c39c288e653bf74904873a023a7826a239fd79f7a8e8aec9a653f176763"


def test_captions_and_labels_say_the_attributes(drawn, tmp_path):
    shapes, _, attributes = drawn
    for caption, facts in zip(shapes.captions(range(300)), attributes, strict=True):
        assert caption.startswith(f"a {facts['size']} {facts['colour']} {facts['shape']} ")
        assert caption.endswith(f" the {facts['position']}")
    parts = shapes.load(tmp_path, tmp_path, None, None)
    assert {split: len(part) for split, part in parts.parts.items()} == {"train": 400, "val": 50, "test": 50}
    names = [parts.class_names[label] for label in parts.parts["test"].labels]
    assert names == [facts["shape"] for facts in attributes[:50]]


def test_held_out_combinations_are_in_test_only():
    shapes = Shapes(train=2000, val=200, test=500, hold_out=[{"shape": "ring", "colour": "red"}, {"size": "small"}])
    seen = {}
    for split, indices in shapes.indices().items():
        facts = [shapes.attributes(int(index)) for index in indices]
        seen[split] = sum(f["size"] == "small" or (f["shape"], f["colour"]) == ("ring", "red") for f in facts)
    assert (seen["train"], seen["val"]) == (0, 0)
    assert seen["test"] > 200
    every = np.concatenate(list(shapes.indices().values()))
    assert len(np.unique(every)) == len(every) == 2700


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hold_out": [{"shap": "ring"}]}, "did you mean 'shape'"),
        ({"hold_out": [{"colour": "rde"}]}, "did you mean 'red'"),
    ],
)
def test_impossible_wishes_are_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        Shapes(**options)


def test_holding_everything_out_is_refused():
    with pytest.raises(UserError, match="nothing to train on"):
        Shapes(train=10, hold_out=[{"size": "small"}, {"size": "large"}]).indices()


HOLD_OUT = [{"shape": "ring", "colour": "red"}, {"size": "large", "shape": "cross"}]


@pytest.fixture(scope="module")
def two():
    shapes = Shapes(objects=2, train=400, val=50, test=50, hold_out=HOLD_OUT)
    indices = np.arange(300)
    return shapes, shapes.draw(indices, 32), [shapes.attributes(index) for index in range(300)]


def test_two_shapes_lie_where_the_words_say(two):
    _, pixels, attributes = two
    for picture, facts in zip(pixels, attributes, strict=True):
        right, down = facts["second_x"] - facts["first_x"], facts["second_y"] - facts["first_y"]
        along, across = (right, down) if facts["arrangement"] == "side by side" else (down, right)
        assert along > facts["first_radius"] + facts["second_radius"]
        assert along > 2 * abs(across) - 1e-9
        for which in ("first", "second"):
            centre = picture[:, int(facts[f"{which}_y"] * 32), int(facts[f"{which}_x"] * 32)]
            colour = BACKGROUND if facts[f"{which}_shape"] == "ring" else COLOURS[facts[f"{which}_colour"]]
            assert centre.tolist() == list(colour)


def test_two_shapes_touch_neither_each_other_nor_the_edge(two):
    _, pixels, attributes = two
    frame = torch.ones(32, 32, dtype=torch.bool)
    frame[1:-1, 1:-1] = False
    assert not any(bool((cover(picture) & frame).any()) for picture in pixels)
    for facts in attributes:
        along = "x" if facts["arrangement"] == "side by side" else "y"
        between = facts[f"second_{along}"] - facts[f"first_{along}"] - facts["first_radius"] - facts["second_radius"]
        assert between > 0.05 - 1e-9


def test_a_caption_of_two_names_either_first_and_is_true(two):
    shapes, _, attributes = two
    turned = 0
    for caption, facts in zip(shapes.captions(range(300)), attributes, strict=True):
        first, second = (
            " ".join(facts[f"{which}_{key}"] for key in ("size", "colour", "shape")) for which in ("first", "second")
        )
        words = {"side by side": ("left of", "right of"), "one above the other": ("above", "below")}
        forward, backward = words[facts["arrangement"]]
        assert caption in (f"a {first} {forward} a {second}", f"a {second} {backward} a {first}")
        turned += backward in caption
    assert 100 < turned < 200


def test_of_two_shapes_neither_is_held_out(two, tmp_path):
    shapes, _, _ = two
    found = shapes.load(tmp_path, tmp_path, 16, None)
    held = {split: shapes.held_out(part.numbers.numpy()) for split, part in found.parts.items()}
    assert not held["train"].any()
    assert not held["val"].any()
    assert 0 < held["test"].sum() < 50
    columns = found.attributes()
    for index in range(50):
        facts = shapes.attributes(index)
        shown = any(
            all(facts[f"{which}_{key}"] == value for key, value in combination.items())
            for which in ("first", "second")
            for combination in HOLD_OUT
        )
        assert columns["combination"][index] == ("held out" if shown else "seen")
    assert found.parts["test"].labels.tolist() == [
        SHAPES.index(shapes.attributes(index)["first_shape"]) for index in range(50)
    ]
    assert list(found.captions())[:50] == shapes.captions(range(50))


def test_a_lesson_holds_nothing_out_and_shows_nothing_of_the_splits(two):
    shapes, pixels, _ = two
    lesson = shapes.attribute_data(32, 300)
    named = {key: [names[value] for value in lesson.targets[key].tolist()] for key, names in lesson.names.items()}
    assert "red" in [c for s, c in zip(named["first_shape"], named["first_colour"], strict=True) if s == "ring"]
    assert set(lesson.names) == {key for key in shapes.columns() if key != "combination"}
    assert not set(map(bytes, lesson.pixels.flatten(1).numpy())) & set(map(bytes, pixels.flatten(1).numpy()))


def test_a_place_is_nothing_that_pairs_are_held_out_by():
    with pytest.raises(UserError, match="not one of shape, colour, size"):
        Shapes(objects=2, hold_out=[{"position": "top"}])
