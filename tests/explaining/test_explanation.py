from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from darkroom.errors import UserError
from darkroom.explaining import sanity, sheet
from darkroom.explaining.explanation import Explanation, explain, in_turn, output, targets_of
from darkroom.models.explainable import Alternatives, Explainable


@pytest.fixture
def subject():
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 3))
    network[2].weight.data = torch.tensor([[-4.0], [0.0], [4.0]])
    network[2].bias.data.zero_()
    names = ["dark", "grey", "light"]
    return Explainable.of("class", Alternatives(network, torch.tensor(2.0)), names, (1, 6, 6)).ready()


def test_classes_take_turns():
    labels = torch.tensor([1, 1, 1, 0, 2, 0, 2, 2])
    assert in_turn(labels, 8, 5).tolist() == [3, 0, 4, 5, 1]
    assert sorted(in_turn(labels, 8, 99).tolist()) == list(range(8))
    assert in_turn(None, 8, 3).tolist() == [0, 1, 2]


def test_what_is_explained_is_what_is_named_or_asked_for(subject):
    images = torch.stack([torch.full((1, 6, 6), value) for value in (-1.0, 0.0, 1.0)])
    labels = torch.tensor([2, 2])
    assert targets_of(subject, images[[0, 2]], labels, None).tolist() == [0, 2]
    assert targets_of(replace(subject, true_labels=True), images[[0, 2]], labels, None).tolist() == [2, 2]
    assert targets_of(subject, images, None, "light").tolist() == [2, 2, 2]
    assert output(subject, "1") == 1
    with pytest.raises(UserError, match="did you mean 'light'"):
        output(subject, "ligth")
    with pytest.raises(UserError, match="dark, grey, light"):
        output(subject, "3")


def test_captions_give_the_probability_at_the_temperature(subject):
    image = torch.ones(1, 1, 6, 6)
    explained = explain(subject, {}, image, torch.tensor([2]), ["true light"])
    share = torch.tensor([-2.0, 0.0, 2.0]).softmax(0)[2].item()
    assert explained.captions == [f"true light\nlight: {share:.1%}"]


def test_the_sheet_shows_each_picture_enlarged_and_each_map_over_it():
    images = torch.full((3, 1, 8, 8), -1.0)
    images[:, :, 2:4, 2:4] = 1.0
    maps = torch.zeros(3, 8, 8)
    maps[0, 4, 4], maps[1, 4, 4] = 1.0, -1.0
    drawn = sheet.overlay(images, maps)
    assert drawn.shape == (3, 8, 8, 3)
    warm, cold, nothing = drawn[:, 4, 4].astype(int)
    assert warm[0] > warm[2] + 100
    assert cold[2] > cold[0] + 100
    assert len(set(nothing)) == 1
    assert np.array_equal(drawn[2], drawn[2, ..., :1].repeat(3, axis=2))
    page = sheet.draw(Explanation(images, ["true a\na 90.0%"] * 3, {"grad_cam": maps}, "the class"), "a title")
    scale = sheet.CELL // 8
    # Each pixel of the picture is a square of its own colour.
    white = (page == 255).all(axis=2)
    assert page.dtype == np.uint8
    left, top = sheet.LEFT + 2 * scale, 30 + 2 * sheet.LINE + sheet.GAP // 2 + 2 * scale
    assert white[top : top + 2 * scale, left : left + 2 * scale].all()
    assert not white[top - 1, left : left + 2 * scale].any()


def test_scaling_a_map_does_not_change_its_picture():
    images = torch.zeros(2, 3, 8, 8)
    maps = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(sheet.overlay(images, maps), sheet.overlay(images, 1000 * maps))


def test_more_pictures_than_fit_beside_each_other_get_another_band():
    def page(count):
        return sheet.draw(Explanation(torch.zeros(count, 1, 8, 8), ["a\nb"] * count, {}, "the class"), "t").shape

    assert page(sheet.COLUMNS)[1] == page(sheet.COLUMNS + 1)[1]
    assert page(sheet.COLUMNS + 1)[0] > 1.5 * page(sheet.COLUMNS)[0]


def test_curves_are_drawn():
    line = torch.linspace(1, 0, sanity.STEPS + 1).tolist()
    findings = [
        sanity.Finding("grad_cam", line, line[::-1], 0.1, 0.2, sanity.TRUST),
        sanity.Finding("random order", line, line, None, None, ""),
    ]
    drawn = sheet.draw_curves(findings, "t")
    assert drawn.dtype == np.uint8
    assert drawn.shape[2] == 3
    assert (drawn < 200).any()
    assert not np.array_equal(drawn, sheet.draw_curves(findings[:1], "t"))
