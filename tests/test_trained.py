import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import darkroom
from darkroom.errors import UserError
from darkroom.images import from_uint8, to_uint8
from darkroom.trained import Trained


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, darkroom; darkroom.load; assert not {'torch', 'numpy', 'PIL', 'hydra', 'mlflow'} & {*sys.modules}"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Darker:
    """Halves the light, whatever it is shown; it is told nothing."""

    image_shape, operation = (1, 8, 8), "denoise"
    scale, multiple, reach, leveled, masked, decides = 1, 1, None, False, False, False

    def restore(self, damaged, labels=None):
        return (damaged + 1) / 2 - 1


class Larger(Darker):
    image_shape, operation, scale = (3, 8, 8), "enlarge", 2

    def restore(self, damaged, labels=None):
        return damaged.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


class Filler(Darker):
    """White where it is told to repair, and elsewhere too."""

    image_shape, operation, masked = (3, 8, 8), "inpaint", True

    def restore(self, damaged, labels=None, mask=None):
        assert mask.dtype == torch.bool
        return torch.ones_like(damaged)


RUN, LARGER, FILLER = (Trained(model(), None, "it") for model in (Darker, Larger, Filler))
LEVELS = np.random.default_rng(0).integers(0, 128, (6, 5, 4), dtype=np.uint8) * 2  # even: half of them is whole


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", slice(0, 1)), ("LA", slice(2, 4)), ("RGB", slice(0, 3)), ("RGBA", slice(0, 4))]
)
def test_a_picture_comes_back_in_its_mode_and_size_with_its_transparency(mode, channels):
    levels = LEVELS[:, :, channels]
    grey = levels[:, :, 0] if mode == "L" else levels
    clear = mode in ("LA", "RGBA")
    if clear:
        grey = grey.copy()
        grey[:, :, -1] |= 1  # all of it shows
    if mode in ("RGB", "RGBA"):
        grey = grey.copy()
        grey[:, :, :3] = grey[:, :, :1]  # a model of grey edits the luminance alone
    made = RUN.edit(Image.fromarray(grey))
    assert (made.mode, made.size) == (mode, (5, 6))
    expected = grey.copy()
    part = expected[:, :, :-1] if clear else expected
    part //= 2
    assert np.array_equal(np.asarray(made), expected)
    array = RUN.edit(grey)
    assert (array.dtype, array.shape) == (np.uint8, grey.shape)
    assert np.array_equal(array, expected)


def test_every_kind_says_the_same(tmp_path):
    grey = LEVELS[:, :, 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    from_path = RUN.edit(tmp_path / "grey.png")
    tensor = from_uint8(torch.from_numpy(grey.copy())[None])
    assert np.array_equal(np.asarray(from_path), grey // 2)
    assert np.array_equal(to_uint8(RUN.edit(tensor))[0].numpy(), grey // 2)
    batch = RUN.edit(tensor.expand(3, 1, 6, 5).double())
    assert batch.dtype == torch.float64
    assert torch.equal(batch[1].float(), RUN.edit(tensor))
    floats = RUN.edit(grey / 255)
    assert (floats.dtype, floats.shape) == (np.float64, (6, 5))
    np.testing.assert_allclose(floats, grey / 510, atol=1e-6)
    deep = RUN.edit(grey.astype(np.uint16) * 257)
    assert deep.dtype == np.uint16
    np.testing.assert_allclose(deep, grey * 128.5, atol=0.51)
    assert RUN.edit(Image.fromarray(grey.astype(np.uint16) * 257)).mode == "I;16"
    for given in (tmp_path / "grey.png", grey, Image.fromarray(grey)):
        assert torch.allclose(RUN.edit(given, as_tensor=True), RUN.edit(tensor), atol=1e-6)
    palette = Image.fromarray(grey).convert("P")
    assert np.array_equal(np.asarray(RUN.edit(palette))[..., 0], grey // 2)
    assert np.array_equal(np.asarray(RUN.edit(grey, strength=0.0)), grey)


def test_a_turned_photograph_comes_back_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(LEVELS[:, :, 0]).save(tmp_path / "turned.png", exif=exif)
    expected = np.rot90(LEVELS[:, :, 0], -1) // 2
    with Image.open(tmp_path / "turned.png") as opened:
        assert np.array_equal(np.asarray(RUN.edit(opened)), expected)
    assert np.array_equal(np.asarray(RUN.edit(str(tmp_path / "turned.png"))), expected)


def test_a_picture_is_enlarged_by_the_scale_of_the_run():
    assert LARGER.edit(LEVELS[:, :, :3]).shape == (12, 10, 3)
    assert LARGER.edit(torch.zeros(2, 3, 4, 6)).shape == (2, 3, 8, 12)


def test_outside_the_mask_nothing_changes():
    holes = np.zeros((6, 5), dtype=bool)
    holes[1:3, 2:] = True
    picture = LEVELS[:, :, :3]
    for mask in (holes, holes.astype(np.uint8) * 255, Image.fromarray(holes), torch.from_numpy(holes), holes / 1.0):
        made = FILLER.edit(picture, mask=mask)
        assert np.array_equal(made[~holes], picture[~holes])
        assert (made[holes] == 255).all()
    colours = torch.from_numpy(picture / 127.5 - 1).permute(2, 0, 1).float()
    made = FILLER.edit(colours, mask=holes)
    assert torch.equal(made[:, ~torch.from_numpy(holes)], colours[:, ~torch.from_numpy(holes)])


@pytest.mark.parametrize(
    ("run", "given", "settings", "words"),
    [
        (RUN, torch.zeros(1, 4, 4) + 2, {}, "values from 2 to 2, and floats from -1 to 1"),
        (RUN, np.full((4, 4), -0.5), {}, "floats from 0 to 1"),
        (RUN, np.zeros((4, 4, 5), np.uint8), {}, "with 1 to 4 channels"),
        (RUN, np.zeros((4, 4), np.int32), {}, "cannot be int32"),
        (RUN, torch.zeros(4, 4), {}, "is no picture"),
        (RUN, torch.zeros(1, 4, 4, dtype=torch.uint8), {}, "is no picture"),
        (RUN, 7, {}, "cannot be int"),
        (RUN, "nothing.png", {}, "nothing.png cannot be read"),
        (RUN, LEVELS, {"strength": 2.0}, "strength=2 is no share"),
        (RUN, LEVELS, {"level": 25}, "told no noise level"),
        (RUN, LEVELS, {"tile": 64}, "leave tile out"),
        (FILLER, LEVELS[:, :, :3], {}, "give mask="),
        (FILLER, LEVELS[:, :, :3], {"mask": np.ones((4, 4), bool)}, "4x4 pixels and the picture 5x6"),
        (FILLER, LEVELS[:, :, :3], {"mask": np.zeros((6, 5), bool)}, "marks 0 %"),
    ],
)
def test_what_cannot_be_edited_is_said_in_a_sentence(run, given, settings, words):
    with pytest.raises(UserError, match=words):
        run.edit(given, **settings)


def test_generated_are_the_pictures_of_the_command(project, typed):
    line = "generate checkpoint=painter count=12 seed=3 labels=[7,2] truncation=0.7 output=drawn"
    assert typed(line)[0] == 0
    run = darkroom.load("painter")
    made = run.generate(12, seed=3, labels=[7, 2], truncation=0.7)
    assert len(made) == 12
    for index, picture in enumerate(made):
        assert np.array_equal(np.asarray(picture), np.asarray(Image.open(project / "drawn" / f"{index:06d}.png")))
    tensor = run.generate(12, seed=3, labels="7,2", truncation=0.7, as_tensor=True)
    assert np.array_equal(to_uint8(tensor)[4, 0].numpy(), np.asarray(made[4]))
    with pytest.raises(UserError, match="count=0"):
        run.generate(0)
    with pytest.raises(UserError, match="does not read"):
        run.generate(1, prompt="a seven")
    for ask in (lambda: run.edit(made[0]), lambda: run.classify(made[0])):
        with pytest.raises(UserError, match="'painter' is a Gan, which"):
            ask()


def test_a_picture_is_named(project):
    run = darkroom.load("namer")
    picture = Image.fromarray(LEVELS[:, :, :3]).resize((31, 24))
    found = run.classify(picture)
    assert set(found) == set(run.model.class_names)
    assert sum(found.values()) == pytest.approx(1, abs=1e-5)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert run.classify(np.asarray(picture)) == found
    batch = torch.zeros(2, 1, 8, 8)
    batch[1, 0, 2:6, 3] = 1
    both = run.classify(batch)
    logits = run.model.predict(from_uint8(to_uint8(batch)))
    for shares, named in zip(logits.softmax(dim=1), both, strict=True):
        torch.testing.assert_close(torch.tensor([named[name] for name in run.model.class_names]), shares)
    with pytest.raises(UserError, match="draws nothing"):
        run.generate(1)
    with pytest.raises(UserError, match="nobody"):
        darkroom.load("nobody")
