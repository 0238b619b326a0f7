from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from darkroom.errors import UserError
from darkroom.images import to_pil, to_uint8
from darkroom.imaging import styles
from darkroom.imaging.colour import linear
from darkroom.losses.patches import directions, patch_distance
from darkroom.models.schedule import Schedule
from darkroom.models.style import AdaIn, Stylizer
from darkroom.networks.style import StyleCoder, Transformer

from ..small_models import fit


def model(kind, **changes):
    torch.manual_seed(0)
    network = partial(Transformer, width=4, blocks=1) if kind is Stylizer else partial(StyleCoder, width=8)
    parts = {
        "network": network,
        "optimizer": partial(torch.optim.Adam, lr=0.01 if kind is Stylizer else 0.003),
        "schedule": Schedule("constant"),
        "image_shape": (3, 16, 16),
        "class_names": [],
        "scales": 2,
        "directions": 16,
    }
    sized = {"style_size": 16} if kind is Stylizer else {"count": 8}
    return kind(**{**parts, **sized, **changes})


def slopes(count, seed):
    """Smooth pictures, a slope for each channel."""
    drawn = torch.rand(count, 3, 2, 1, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    rows, columns = torch.linspace(-0.5, 0.5, 16).view(16, 1), torch.linspace(-0.5, 0.5, 16)
    return drawn[:, :, :1] * rows + drawn[:, :, 1:] * columns


def checked():
    """A chessboard in two colours."""
    board = (torch.arange(16)[:, None] // 4 + torch.arange(16) // 4) % 2 * 2.0 - 1
    return torch.stack([board, 0.5 * board, -board]) * 0.8


@pytest.fixture
def style_file(tmp_path):
    to_pil(to_uint8(checked())).save(tmp_path / "checked.png")
    return str(tmp_path / "checked.png")


class Spent(pl.Callback):
    """A budget that is spent evenly."""

    def __init__(self, steps):
        self.steps = steps

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        pl_module.fraction = batch_idx / self.steps


def learnt(trained, steps):
    trained.init_from_data(None)
    fit(trained, [{"images": slopes(4, step)} for step in range(steps)], [Spent(steps)])
    return trained


def far(made, style):
    held_out = directions(64, 3, generator=torch.Generator().manual_seed(999))
    return patch_distance(made, style[None], held_out).mean()


def test_a_network_learns_the_patches_of_one_style(style_file):
    trained = learnt(model(Stylizer, style=style_file, content_weight=0.1), 40)
    contents = slopes(8, 1000)
    before = torch.stack([linear(one, trained.style) for one in contents]).clamp(-1, 1)
    assert far(trained.stylise(contents), trained.style) < 0.75 * far(before, trained.style)
    assert far(before, trained.style) < far(contents, trained.style)


@pytest.mark.parametrize("kind", [Stylizer, AdaIn])
def test_without_any_share_of_the_style_pictures_stay_as_they_are(kind):
    contents = slopes(2, 0)[:, :, :, :13]
    style = None if kind is Stylizer else slopes(2, 1)
    assert torch.equal(model(kind).stylise(contents, style, alpha=0.0), contents)
    assert model(kind).stylise(contents, style).shape == contents.shape
    nearly = model(kind).stylise(contents, style, alpha=1e-4)
    assert torch.allclose(nearly, contents, atol=1e-2)


def test_the_style_travels_with_the_weights_and_gives_way_to_another_that_is_asked_for(style_file):
    first = model(Stylizer, style=style_file)
    first.init_from_data(None)
    restored = model(Stylizer, style="nowhere.png")
    restored.load_state_dict(first.state_dict())
    assert torch.equal(restored.style, first.style)
    other = model(Stylizer, style="coffee")
    other.init_from_data(None)
    wanted = other.style.clone()
    other.load_state_dict(first.state_dict())
    assert torch.equal(other.style, wanted)
    assert not torch.equal(wanted, first.style)


def test_adain_learns_to_return_pictures_first():
    trained = model(AdaIn, autoencoding=1.0)
    before = (trained.network(slopes(4, 7)) - slopes(4, 7)).abs().mean()
    learnt(trained, 25)
    assert (trained.network(slopes(4, 7)) - slopes(4, 7)).abs().mean() < 0.8 * before


def test_adain_leaves_the_encoder_alone_then():
    trained = model(AdaIn, autoencoding=0.0)
    before = {name: weights.clone() for name, weights in trained.network.state_dict().items()}
    learnt(trained, 2)
    for name, weights in trained.network.state_dict().items():
        assert torch.equal(before[name], weights) == name.startswith("encoder")


def test_a_picture_in_its_own_style_is_itself_for_adain():
    contents = slopes(2, 3)
    assert torch.allclose(model(AdaIn).stylise(contents, contents), contents, atol=1e-3)


def test_one_style_of_all_the_weight_is_that_style():
    contents, one, other = slopes(2, 0), slopes(1, 1), checked()
    alone = model(AdaIn).stylise(contents, one.expand(2, -1, -1, -1))
    mixed = model(AdaIn).stylise(contents, [one[0], other], weights=[2.0, 0.0])
    assert torch.allclose(alone, mixed, atol=1e-6)


def test_what_a_model_does_not_know_is_refused():
    with pytest.raises(UserError, match="leave style= out"):
        model(Stylizer).stylise(slopes(1, 0), slopes(1, 0))
    with pytest.raises(UserError, match="type style="):
        model(AdaIn).stylise(slopes(1, 0))
    with pytest.raises(UserError, match=r"model\.scales=2 or less"):
        model(Stylizer, scales=3)


def test_styles_are_found_by_file_and_by_name(tmp_path, style_file):
    assert torch.allclose(styles.picture(style_file), checked(), atol=1 / 127)
    assert styles.picture("tissue").shape[0] == 3
    assert styles.picture("tissue", channels=1).shape[0] == 1
    assert styles.references(str(tmp_path)) == [tmp_path / "checked.png"]
    with pytest.raises(UserError, match="did you mean 'tissue'"):
        styles.picture("tisue")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="cannot be read"):
        styles.picture(tmp_path / "broken.png")
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert torch.equal(styles.picture(tmp_path / "clear.png"), torch.ones(3, 4, 4))
