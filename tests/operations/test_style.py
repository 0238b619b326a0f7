from functools import partial

import pytest
import torch

from darkroom.errors import UserError
from darkroom.imaging import styles
from darkroom.imaging.colour import moments
from darkroom.models.cyclegan import CycleGan
from darkroom.models.schedule import Schedule
from darkroom.models.style import AdaIn, Stylizer
from darkroom.networks.patchgan import PatchGan
from darkroom.networks.style import StyleCoder, Transformer
from darkroom.operations import style as operations
from darkroom.operations.operation import Learnt
from darkroom.operations.style import Stylize, Translate


def scene(height=24, width=40, channels=3):
    rows, columns = torch.linspace(-0.9, 0.9, height).view(-1, 1), torch.linspace(-0.9, 0.9, width)
    return torch.stack([rows + 0 * columns, rows * columns, 0.5 - columns.abs() + 0 * rows])[:channels]


def learnt(kind, **changes):
    torch.manual_seed(0)
    common = {
        "optimizer": partial(torch.optim.Adam, lr=0.01),
        "schedule": Schedule(),
        "image_shape": (3, 16, 16),
        "class_names": [],
    }
    if kind is CycleGan:
        networks = {"generator": partial(Transformer, width=2, blocks=1), "discriminator": partial(PatchGan, width=2)}
        made = CycleGan(**{**common, **networks, "class_names": ["a", "b"]})
        torch.nn.init.normal_(made.network["a_to_b"].output.weight)
        return made
    network = partial(Transformer, width=2, blocks=1) if kind is Stylizer else partial(StyleCoder, width=2)
    made = kind(**common, network=network, scales=1)
    if kind is Stylizer:
        torch.nn.init.normal_(made.network.output.weight)
        made.init_from_data(None)
    return made


RUNS = {"patches": None, "colour": None, "feedforward": Stylizer, "adain": AdaIn}


def editor(method, **changes):
    kind = RUNS[method]
    given = {"method": method, "style": None if kind is Stylizer else "coffee", **changes}
    return done(Stylize(steps=1, **given), None if kind is None else learnt(kind))


def done(operation, model):
    """The editor of an operation with a run of this model, or without one."""
    run = None if model is None else Learnt(model, None, "run")
    if run is not None:
        operation.check(run)
    return operation.editor(run)


@pytest.mark.parametrize("method", RUNS)
def test_every_method_keeps_the_size_and_does_the_same_each_time(method):
    apply = editor(method).apply
    with torch.no_grad():  # as pictures are edited
        made = apply(scene(), None)
    assert made.shape == (3, 24, 40)
    assert made.abs().max() <= 1
    assert not torch.allclose(made, scene(), atol=0.05)
    assert torch.equal(made, apply(scene(), None))


@pytest.mark.parametrize("method", RUNS)
def test_none_of_the_style_returns_the_picture_to_the_bit(method):
    assert torch.equal(editor(method, alpha=0.0).apply(scene(), None), scene())


@pytest.mark.parametrize("method", RUNS)
def test_outside_a_mask_nothing_changes(method):
    mask = torch.zeros(1, 24, 40, dtype=torch.bool)
    mask[:, :, :10] = True
    made = editor(method).apply(scene(), mask)
    assert torch.equal(made[:, :, 10:], scene()[:, :, 10:])
    assert not torch.equal(made[:, :, :10], scene()[:, :, :10])


@pytest.mark.parametrize("method", ["patches", "colour"])
def test_what_needs_no_network_takes_grey_pictures_as_they_are(method):
    assert editor(method).channels is None
    assert editor(method).apply(scene(channels=1), None).shape == (1, 24, 40)


def test_colours_can_stay():
    content = 0.4 * scene()
    kept = editor("patches", preserve_color=True).apply(content, None)
    # To what is clipped.
    for found, wanted in zip(moments(kept), moments(content), strict=True):
        assert torch.allclose(found, wanted, atol=0.01)


def test_a_large_picture_is_made_small_and_comes_back_at_full_size():
    small = editor("patches", size=24)
    made = small.apply(scene(60, 48), None)
    assert made.shape == (3, 60, 48)
    assert made.abs().max() <= 1


def test_several_styles_are_mixed_by_their_weights():
    both = editor("adain", style=["coffee", "tissue"], weights=[1, 0]).apply(scene(), None)
    assert torch.allclose(both, editor("adain", style="coffee").apply(scene(), None), atol=1e-5)
    other = editor("adain", style=["coffee", "tissue"], weights=[0, 1]).apply(scene(), None)
    assert not torch.allclose(both, other, atol=0.05)


def test_a_translation_goes_the_way_that_is_asked_for():
    model = learnt(CycleGan)
    there = done(Translate(), model).apply(scene(), None)
    back = done(Translate(direction="b_to_a"), model).apply(scene(), None)
    assert torch.equal(there, model.translate(scene()[None])[0])
    assert torch.equal(back, scene())  # that generator is as it was built


def test_scores_say_how_far_a_picture_came():
    content, style = scene(), styles.picture("coffee")
    idle = operations.scores(content, content, style)
    assert idle["style_gain"] == pytest.approx(0, abs=1e-6)
    assert idle["content_ssim"] == pytest.approx(1)
    assert idle["style_gain_colour"] > 0.2
    recoloured = editor("colour").apply(content, None)
    assert operations.scores(content, recoloured, style)["style_gain"] == pytest.approx(
        idle["style_gain_colour"], abs=1e-4
    )


def test_a_result_is_judged_beside_colours_alone():
    content = scene()
    said, warning = editor("patches").judged(content, content)
    assert said["style"] == pytest.approx(0, abs=1e-6)
    assert said["style_of_colours_alone"] > 0.2
    assert "method=colour brings as much" in warning
    assert editor("colour").judged(content, content)[1] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"style": None}, "type style=<picture>"),
        ({"style": ["coffee", "tissue"]}, "type method=adain"),
        ({"method": "feedforward"}, "leave style= out"),
        ({"method": "adain", "weights": [1, 2]}, "weights"),
        ({"style": "nowhere.png"}, "is no picture"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        Stylize(**{"style": "coffee", **changes})


def test_a_run_of_something_else_is_refused():
    with pytest.raises(UserError, match=r"method=adain needs a run that has learnt it.* is a Stylizer"):
        done(Stylize(method="adain", style="coffee"), learnt(Stylizer))
    with pytest.raises(UserError, match="translates nothing"):
        done(Translate(), learnt(Stylizer))
