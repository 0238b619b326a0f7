from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from darkroom.editing import applying
from darkroom.editing.applying import Manner
from darkroom.editing.photographs import Picture
from darkroom.errors import UserError
from darkroom.imaging.degradations import Fade, Noise
from darkroom.models.restorer import Restorer
from darkroom.models.schedule import Schedule
from darkroom.networks.denoising import DenoisingAutoencoder
from darkroom.networks.dncnn import DnCNN
from darkroom.networks.tone import Tone
from darkroom.operations.operation import Learnt
from darkroom.operations.restoration import Deblur, Denoise, Enhance


def done(operation, model):
    """The editor of an operation with a run of this model."""
    run = Learnt(model, None, "run")
    operation.check(run)
    return operation.editor(run)


def restorer(channels=3, **changes):
    torch.manual_seed(0)
    parts = {"network": partial(DenoisingAutoencoder, width=8, blocks=1), "degradation": Noise()}
    return Restorer(
        **{**parts, **changes},
        optimizer=partial(torch.optim.Adam, lr=0.01),
        schedule=Schedule("constant"),
        image_shape=(channels, 16, 16),
        class_names=[],
    ).eval()


class Leveled:
    """What a restorer looks like from here; it returns the level that it is told."""

    operation, scale, image_shape, leveled, masked, reach, multiple = "denoise", 1, (3, 16, 16), True, False, 2, 4
    decides = False
    degradation = staticmethod(lambda images, draw: (images + draw(torch.randn, *images.shape) / 5, torch.ones(1, 1)))

    def restore(self, damaged, level=None):
        return torch.full_like(damaged, level / 127.5 - 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_denoiser_that_has_learnt_nothing_changes_nothing(channels):
    editor = done(Denoise(), restorer(channels))
    for shape in ((33, 20, 3), (16, 40, 1)):
        flat = Picture(np.full(shape, 77, np.uint8))
        assert (applying.edit(flat, editor, Manner()).picture.levels == 77).all()
        busy = Picture(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
        assert np.array_equal(applying.edit(busy, editor, Manner()).picture.levels, busy.levels)


def test_a_run_that_has_learnt_something_else_is_refused():
    with pytest.raises(UserError, match="has learnt to denoise: type operation=denoise, or name a run"):
        done(Deblur(), restorer())
    with pytest.raises(
        UserError, match="has learnt no repair of pictures of any size: name a run that has learnt to denoise"
    ):
        done(Denoise(), SimpleNamespace())
    with pytest.raises(UserError, match="is told no noise level"):
        done(Denoise(25), restorer())


def test_the_noise_level_is_looked_for_or_told():
    generator = np.random.default_rng(0)
    noisy = 128 + generator.normal(0, 20, (80, 90, 3))
    picture = Picture(noisy.clip(0, 255).astype(np.uint8))
    found = done(Denoise(), Leveled())
    outcome = applying.edit(picture, found, Manner())
    assert np.abs(outcome.picture.levels.astype(float) - 20).max() < 1.5
    assert outcome.found.startswith(("noise of 19.", "noise of 20."))
    told = done(Denoise(40), Leveled())
    outcome = applying.edit(picture, told, Manner())
    assert (outcome.picture.levels == 40).all()
    assert outcome.found == ""


def test_what_a_small_copy_decides_is_done_to_every_tile(monkeypatch):
    brightener = restorer(network=partial(Tone, width=4, refine=partial(DnCNN, width=4, layers=3)), degradation=Fade())
    for parameter in brightener.inference_network.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    editor = done(Enhance(), brightener)
    rows, columns = np.mgrid[:90, :70]
    levels = np.stack([rows, columns, rows + columns], axis=2) + np.random.default_rng(0).integers(0, 20, (90, 70, 3))
    picture = Picture(levels.astype(np.uint8))
    whole = applying.edit(picture, editor, Manner(tile="none"))
    tiled = applying.edit(picture, editor, Manner(tile=32))
    assert (whole.tile, tiled.tile) == (None, 32)
    assert np.abs(whole.picture.levels.astype(int) - tiled.picture.levels).max() <= 1
    assert whole.picture.levels.std() > levels.std()
    monkeypatch.setattr(applying, "LOOKED_AT", 45)  # the copy is smaller than the picture, and nearly as telling
    other = applying.edit(picture, editor, Manner(tile=32)).picture.levels
    assert np.abs(whole.picture.levels.astype(int) - other).mean() < 3


def test_damage_is_the_same_for_the_same_seed_and_of_the_taught_strength():
    editor = done(Denoise(), restorer())
    picture = torch.zeros(3, 64, 64)
    first, holes = editor.damage(picture, 3)
    assert holes is None
    assert torch.equal(first, editor.damage(picture, 3)[0])
    assert not torch.equal(first, editor.damage(picture, 4)[0])
    assert float(first.std()) * 127.5 == pytest.approx(25, rel=0.05)
