import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from darkroom.images import from_uint8
from darkroom.imaging.motion import accumulated, moved

SMALL = "budget.images=32 data.batch_size=16 data.source.train=64 data.source.val=8 data.source.test=8 metrics.every=32"
CLIPS = "data.source.canvas=8 data.source.frames=4"
MOVER = (
    f"name=mover profile=smoke model=sequence data=transforms {SMALL} {CLIPS} data.source.picture_size=6"
    " data.source.shift=1 model.inputs=1 model.conditioning=action model.network.output=warp model.network.width=4"
)
GOER = (
    f"name=goer profile=smoke model=sequence data=moving_digits {SMALL} {CLIPS} data.source.digit_size=4"
    " model.inputs=2 model.network.width=4 model.latents=2"
)
DRAWER = (
    "name=drawer profile=smoke model=pixelrnn data=digits model.levels=4 budget.images=64 data.image_size=8"
    " metrics.every=64 model.network.width=4 saving.samples=4"
)

CODER = (
    "name=coder profile=smoke model=vae data=digits data.image_size=8 budget.images=6400 metrics.every=6400"
    " saving.samples=4"
)


@pytest.fixture(scope="module")
def editors(train_all):
    """A project folder with the smallest run of each kind that edits."""
    return train_all("edit", (MOVER, GOER, DRAWER))


@pytest.fixture
def place(editors, tmp_path, monkeypatch):
    """An empty folder to work in, with a picture and a film of eight by eight pixels."""
    monkeypatch.setenv("DARKROOM_ROOT", str(editors))
    monkeypatch.setenv("DARKROOM_CACHE", str(editors / "cache"))
    monkeypatch.chdir(tmp_path)
    levels = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    Image.fromarray(levels[0]).save("picture.png")
    (tmp_path / "film").mkdir()
    for index, frame in enumerate(levels):
        Image.fromarray(frame).save(tmp_path / "film" / f"{index}.png")
    return tmp_path


def frames(path):
    """How many frames of a fifth of a second a film has; equal ones that follow each other are stored as one."""
    with Image.open(path) as film:
        return sum(film.seek(index) or film.info["duration"] for index in range(film.n_frames)) / 200


def read(path):
    return torch.from_numpy(np.asarray(Image.open(path)).copy())


def test_a_picture_is_moved_step_by_step_and_held_against_bicubic(place, typed):
    code, out, err = typed("edit operation=move checkpoint=mover input=picture.png rotate=15 right=2 frames=4")
    assert (code, out) == (0, "")
    assert "dB from bicubic" in err
    assert frames("edited.gif") == 5
    code, _, err = typed("edit operation=move checkpoint=mover input=picture.png right=2 frames=4 output=sheet.png")
    assert code == 0, err
    sheet = read("sheet.png")[2:100, :, 0]  # two rows of five, enlarged six times, two pixels apart
    plain = sheet[50:98:6][:, torch.arange(5 * 8) // 8 * 50 + torch.arange(5 * 8) % 8 * 6 + 2]
    way = torch.tensor([[[0, 0.5, 0, 0]]]).expand(1, 4, 4)
    picture = from_uint8(read("picture.png")[None, None])
    for step, total in enumerate(accumulated(way).unbind(dim=1), start=1):
        expected = (moved(picture, total)[0, 0] + 1) * 127.5
        assert (plain[:, 8 * step : 8 * step + 8].float() - expected).abs().max() <= 0.51


def test_a_film_goes_on(place, typed):
    for seed in (0, 1):
        code, _, err = typed(
            f"edit operation=continue checkpoint=goer input=film frames=6 seed={seed} output=more{seed}"
        )
        assert code == 0, err
        assert "6 frames follow the 5" in err
        assert len(list((place / f"more{seed}").glob("*.png"))) == 11
    for index in range(5):
        assert torch.equal(read(f"more0/{index:04d}.png"), read(f"film/{index}.png"))


@pytest.mark.parametrize("error", [ValueError("bad\nfilm"), KeyError(5), MemoryError(), RecursionError()])
def test_a_film_that_breaks_an_operation_is_named_in_a_sentence(place, typed, monkeypatch, error):
    from darkroom.operations.motion import Continue

    def broken(*args):
        raise error

    monkeypatch.setattr(Continue, "edited", broken)
    code, out, err = typed("edit operation=continue checkpoint=goer input=film frames=2 output=never")
    assert (code, out) == (1, "")
    assert "darkroom edit: film could not be edited (" in err
    assert len(err.splitlines()) == 1
    assert not (place / "never").exists()


def test_the_half_that_is_seen_stays_and_the_other_is_drawn(place, typed):
    code, _, err = typed("edit operation=complete checkpoint=drawer input=picture.png hide=bottom count=3 output=made")
    assert code == 0, err
    pictures = [read(f"made/{index:04d}.png") for index in range(5)]
    assert torch.equal(pictures[0], read("picture.png"))
    for completed in pictures[2:]:
        assert torch.equal(completed[:4], pictures[0][:4])
    assert not torch.equal(pictures[2], pictures[3])


@pytest.mark.slow  # a judge of digits is taught first
@pytest.mark.timeout(900)
def test_a_picture_is_changed_through_its_latents(train_all, tmp_path, typed, monkeypatch):
    """What the reconstruction misses is added again, so that the ends of the way are the pictures themselves."""
    project = train_all("latents", (CODER,))
    monkeypatch.setenv("DARKROOM_ROOT", str(project))
    monkeypatch.setenv("DARKROOM_CACHE", str(project / "cache"))
    monkeypatch.chdir(tmp_path)
    for number, levels in enumerate(load_digits().images[:2]):
        Image.fromarray((levels * 15).astype(np.uint8)).save(f"{number}.png")
    code, out, err = typed(
        "edit operation=attribute checkpoint=coder input=0.png attribute=6 range=[0,3] steps=3 residual=true output=six"
    )
    assert (code, out) == (0, "")
    assert "Towards class:6" in err
    picture, *made = (read(path).int() for path in sorted((tmp_path / "six").iterdir()))
    assert torch.equal(picture, read("0.png").int())
    changes = [int((one - picture).abs().sum()) for one in made]
    assert changes[0] == 0 < changes[1] < changes[2]
    code, out, err = typed(
        "edit operation=interpolate checkpoint=coder input=0.png other=1.png steps=3 residual=true output=way"
    )
    assert (code, out) == (0, "")
    made = [read(path) for path in sorted((tmp_path / "way").iterdir())]
    assert len(made) == 3
    assert torch.equal(made[0], read("0.png"))
    assert torch.equal(made[2], read("1.png"))
    code, _, err = typed("edit operation=attribute checkpoint=coder input=0.png attribute=smile output=no")
    assert code == 2
    assert "smile" in err
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("operation=mvoe input=picture.png", "There is no operation 'mvoe': the nearest are 'move'"),
        ("operation=move", "type input="),
        ("operation=move input=nothing.png rotate=5", "does not exist"),
        ("operation=move checkpoint=mover input=picture.png", "was told no motion"),
        ("operation=move checkpoint=mover input=picture.png rotate=90 frames=2", "type frames=6 or more"),
        ("operation=move checkpoint=mover input=picture.png zoom=-1", "a number of more than 0"),
        ("operation=move checkpoint=mover input=film rotate=5", "takes a single picture"),
        ("operation=move checkpoint=goer input=picture.png rotate=5", "has not learnt to move"),
        ("operation=move checkpoint=mover input=picture.png rotate=5 hide=top", "hide= says nothing to operation=move"),
        ("operation=continue checkpoint=goer input=picture.png", "has 1 frame, and this run goes on from 2"),
        ("operation=continue checkpoint=mover input=film", "only as it is told"),
        ("operation=continue checkpoint=drawer input=film", "forecasts nothing"),
        ("operation=complete checkpoint=goer input=picture.png", "completes nothing"),
        (
            "operation=complete checkpoint=drawer input=picture.png hide=middle",
            "bottom, top, left, right was expected",
        ),
        ("operation=complete checkpoint=drawer input=picture.png output=picture.png", "would be lost"),
        ("operation=complete checkpoint=drawer input=picture.png output=film", "is there already"),
        ("operation=complete checkpoint=drawer input=picture.png output=made.jpg", "use a .gif"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence_and_nothing_is_written(place, typed, line, words):
    before = sorted(path.name for path in place.iterdir())
    code, out, err = typed(f"edit {line}")
    assert (code, out) == (2, "")
    assert words in err
    assert sorted(path.name for path in place.iterdir()) == before


def test_a_forecast_is_explained(place, typed):
    code, _, err = typed("explain checkpoint=goer count=2 images=8 output=why.png")
    assert code == 0, err
    assert (place / "why.png").exists()
    assert (place / "why-curves.png").exists()
    code, _, err = typed("explain checkpoint=goer input=film output=film.png")
    assert code == 0, err
    assert "1 film" in err or "film.png" in err
    code, _, err = typed("explain checkpoint=goer input=picture.png output=no.png")
    assert code == 2
    assert "has 1 frame, and this run is shown 2" in err
