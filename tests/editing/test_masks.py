import numpy as np
import pytest
from PIL import Image

from darkroom.editing import masks
from darkroom.editing.photographs import Picture
from darkroom.errors import UserError

HOLES = np.zeros((16, 20), bool)
HOLES[4:8, 5:15] = True
LIGHT = (HOLES * 255).astype(np.uint8)
ZEROS, FULL = np.zeros_like(LIGHT), np.full_like(LIGHT, 255)
SAVED = {
    "1": Image.fromarray(LIGHT).convert("1"),
    "L": Image.fromarray(LIGHT),
    "LA": Image.fromarray(np.dstack([FULL, LIGHT]), "LA"),  # white strokes on nothing
    "P": Image.fromarray(LIGHT).convert("P"),
    "RGB": Image.fromarray(np.dstack([LIGHT] * 3)),
    "RGBA": Image.fromarray(np.dstack([LIGHT, LIGHT, LIGHT, FULL])),
    "I;16": Image.fromarray(LIGHT.astype(np.uint16) * 257),
}


@pytest.mark.parametrize("mode", SAVED)
def test_white_means_repair_in_every_mode(mode, tmp_path):
    SAVED[mode].save(tmp_path / "mask.png")
    assert np.array_equal(masks.marked(tmp_path / "mask.png"), HOLES)


RED = np.where(HOLES[:, :, None], np.array([250, 10, 5], np.uint8), np.uint8(0))
UNDERSTOOD = {
    "0 and 1": LIGHT // 255,
    "0 and 1 of 16 bits": (LIGHT // 255).astype(np.uint16),
    "0 and 1 in three channels": np.dstack([LIGHT // 255] * 3),
    "red on black": RED,
    "red on nothing": np.dstack([RED, LIGHT]),
    "black on nothing": np.dstack([ZEROS, ZEROS, ZEROS, LIGHT]),
    "white on nothing": np.dstack([FULL, FULL, FULL, LIGHT]),
    "soft black on nothing": np.dstack([ZEROS, ZEROS, ZEROS, np.where(HOLES, 180, 60).astype(np.uint8)]),
    "light grey on dark grey": np.where(HOLES, 200, 40).astype(np.uint8),
}


@pytest.mark.parametrize("kind", UNDERSTOOD)
def test_what_else_can_only_mean_one_thing_is_understood(kind, tmp_path):
    Image.fromarray(UNDERSTOOD[kind]).save(tmp_path / "mask.png")
    assert np.array_equal(masks.marked(tmp_path / "mask.png"), HOLES)


def test_strokes_of_one_colour_are_found_in_a_jpeg(tmp_path):
    red = np.kron(RED, np.ones((8, 8, 1), np.uint8))
    Image.fromarray(red).save(tmp_path / "mask.jpg", quality=85, subsampling=0)
    found = masks.marked(tmp_path / "mask.jpg")
    assert (found != np.kron(HOLES, np.ones((8, 8), bool))).mean() < 0.01


PHOTOGRAPH = np.random.default_rng(0).integers(0, 256, (16, 20, 3)).astype(np.uint8)
REFUSED = {
    "red on white": (np.where(RED.any(axis=2, keepdims=True), RED, np.uint8(255)), r"white \(88%\), #fa0a05 \(12%\)"),
    "red and green": (np.where(np.arange(20)[None, :, None] < 10, RED, RED[:, :, [1, 0, 2]]), "3 colours, black"),
    "red, white and black": (np.concatenate([RED[:8], np.full_like(RED[:8], 255)]), "3 colours, white .*, black"),
    "painted over a photograph": (np.where(HOLES[:, :, None], np.uint8([255, 0, 0]), PHOTOGRAPH), r"red \(12%\)"),
    "a hole in a photograph": (np.dstack([PHOTOGRAPH, 255 - LIGHT]), "12% of it is transparent"),
    "classes": (LIGHT // 255 * 2, r"2 levels, black \(88%\), grey 2 of 255 \(12%\): none of it"),
    "two light greys": (np.where(HOLES, 250, 180).astype(np.uint8), "2 levels, grey 180 .*: all of it"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_can_be_meant_in_two_ways_is_refused_with_what_was_seen(kind, tmp_path):
    levels, words = REFUSED[kind]
    Image.fromarray(levels).save(tmp_path / "mask.png")
    with pytest.raises(UserError, match=words) as caught:
        masks.marked(tmp_path / "mask.png")
    assert str(tmp_path / "mask.png") in str(caught.value)


def test_a_mask_out_of_a_jpeg_has_clean_edges(tmp_path):
    flat = np.kron(HOLES, np.ones((4, 4), bool))
    Image.fromarray((flat * 255).astype(np.uint8)).save(tmp_path / "mask.jpg", quality=60)
    assert np.array_equal(masks.marked(tmp_path / "mask.jpg"), flat)


def test_transparency_and_colours_mark():
    red = np.zeros((16, 20, 3), np.uint8)
    red[HOLES] = (250, 5, 0)
    picture = Picture(red, np.where(HOLES, 0, 255).astype(np.uint8))
    assert np.array_equal(masks.transparent(picture, "x"), HOLES)
    assert np.array_equal(masks.coloured(picture, masks.parse_colour("ff0000")), HOLES)
    deep = Picture(red.astype(np.uint16) * 257, (np.where(HOLES, 0, 65_535)).astype(np.uint16))
    assert np.array_equal(masks.transparent(deep, "x"), HOLES)
    assert np.array_equal(masks.coloured(deep, (255, 0, 0)), HOLES)
    with pytest.raises(UserError, match="has no transparency"):
        masks.transparent(Picture(red), "x")


@pytest.mark.parametrize("given", ["#ff0000", "ff0000", "red", "#f00"])
def test_colours_are_named_in_several_ways(given):
    assert masks.parse_colour(given) == (255, 0, 0)


def test_a_colour_that_is_none_is_refused():
    with pytest.raises(UserError, match="names no colour"):
        masks.parse_colour("rde")


def test_masks_are_inverted_grown_and_softened_inwards():
    assert np.array_equal(masks.shaped(HOLES, invert=True).holes, ~HOLES)
    grown = masks.shaped(HOLES, grow=2)
    rows, columns = np.nonzero(grown.holes)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 9, 3, 16)
    assert not grown.holes[2, 3]  # corners are round
    soft = masks.shaped(HOLES, grow=2, feather=2)
    assert np.array_equal(soft.weights > 0, grown.holes)
    assert soft.weights[5, 10] == 1
    assert 0 < soft.weights[2, 10] < soft.weights[3, 10] < 1
    assert np.array_equal(masks.shaped(HOLES).weights, HOLES.astype(np.float32))


def test_a_soft_edge_sets_in_at_the_rim_and_not_at_the_frame():
    touching = np.zeros((8, 8), bool)
    touching[:, :4] = True
    weights = masks.shaped(touching, feather=2).weights
    assert (weights[:, 0] == 1).all()
    assert (weights[:, 3] < 1).all()


def test_masks_of_another_size_of_nothing_and_of_all_are_refused():
    picture = Picture(np.zeros((16, 20, 3), np.uint8))
    with pytest.raises(UserError, match="has 16x20 pixels and the picture 20x16"):
        masks.check_size(masks.shaped(HOLES.T), picture, "m.png")
    with pytest.raises(UserError, match="marks 0 %"):
        masks.check_share(masks.shaped(np.zeros((4, 4), bool)), "m.png")
    with pytest.raises(UserError, match="marks 100 %"):
        masks.check_share(masks.shaped(np.ones((4, 4), bool)), "m.png")
    assert masks.shaped(HOLES).share == pytest.approx(0.125)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_where_there_is_no_weight_levels_stay_to_the_bit(kind):
    generator = np.random.default_rng(0)
    levels = generator.integers(0, np.iinfo(kind).max, (16, 20, 3), dtype=kind)
    edited = generator.random((16, 20, 3), dtype=np.float32) * np.iinfo(kind).max
    made = masks.composited(levels, edited, masks.shaped(HOLES, grow=1, feather=1).weights)
    grown = masks.shaped(HOLES, grow=1).holes
    assert np.array_equal(made[~grown], levels[~grown])
    assert np.array_equal(made[5, 6:14], np.rint(edited[5, 6:14]).astype(kind))
    assert not np.array_equal(made[grown], levels[grown])
