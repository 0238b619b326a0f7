import pytest
import torch

from darkroom.data.augment import Augment
from darkroom.data.detection import CLASS_NAMES, GENERATED, REAL, Gallery, Painter, RealOrGenerated
from darkroom.data.module import ImageData
from darkroom.data.pictures import TensorPictures
from darkroom.data.source import Collection
from darkroom.errors import UserError
from darkroom.images import save_png

SHAPE = (1, 6, 6)


class Dots:
    """Labelled noise; the first pixel is 0."""

    name = "dots"

    def __init__(self, count=100, classes=3, flippable=False):
        self.count, self.classes, self.flippable = count, classes, flippable

    def load(self, folder, cache, image_size, channels):
        generator = torch.Generator().manual_seed(7)
        pixels = torch.randint(0, 256, (self.count, *SHAPE), generator=generator, dtype=torch.uint8)
        pixels[:, 0, 0, 0] = 0
        # two pictures in three are of class 0
        labels = torch.arange(self.count) % (2 * self.classes)
        labels = torch.where(labels < self.classes, 0, labels - self.classes) if self.classes else None
        return Collection({"train": TensorPictures(pixels, labels)}, [str(name) for name in range(self.classes)])


def draw(indices, seed, labels):
    """Noise of its own for each index and seed; the first pixel is white and the second tells the label asked for."""
    pictures = []
    for index in indices.tolist():
        generator = torch.Generator().manual_seed(seed * 100_003 + index)
        pictures.append(torch.rand(SHAPE, generator=generator) * 2 - 1)
    drawn = torch.stack(pictures)
    drawn[:, 0, 0, 0] = 1
    drawn[:, 0, 0, 1] = -1 if labels is None else labels / 127.5 - 1
    return drawn


@pytest.fixture
def painter(tmp_path):
    return Painter("dabbler", "Gan", SHAPE, ["0", "1", "2"], "0" * 64, draw, tmp_path / "cache" / "drawn")


@pytest.fixture
def real(tmp_path):
    def made(*arguments, **options):
        data = ImageData(Dots(*arguments, **options))
        data.locate(tmp_path, tmp_path / "cache")
        return data

    return made


@pytest.fixture
def prepared(tmp_path, painter, real):
    def made(forger=None, truth=None, limit=None, **options):
        source = RealOrGenerated("dabbler", **options)
        source.supply(forger or painter, truth or real())
        data = ImageData(source, limit=limit)
        data.locate(tmp_path, tmp_path / "cache")
        data.prepare()
        return data

    return made


def kinds(data, split):
    pictures = data.pictures(split)
    pixels, labels = pictures.batch(torch.arange(len(pictures))), pictures.labels
    return pixels[labels == GENERATED], pixels[labels == REAL]


def test_every_split_is_half_real_and_half_drawn(prepared, real):
    data, truth = prepared(), real()
    assert data.class_names == CLASS_NAMES == ["generated", "real"]
    for split, count in (("train", 80), ("val", 10), ("test", 10)):
        drawn, found = kinds(data, split)
        assert len(drawn) == len(found) == count
        assert (drawn[:, 0, 0, 0] == 255).all()
        # real pictures stay where they were held out
        assert found.equal(truth.pictures(split).batch(torch.arange(count)))
        assert data.pictures(split).labels[:4].tolist() == [GENERATED, REAL] * 2


def test_each_split_is_drawn_with_a_seed_of_its_own(prepared, painter):
    data = prepared(seed=40)
    for split, seed in (("train", 40), ("val", 41), ("test", 42)):
        count = len(data.pictures(split)) // 2
        labels = data.source.real_pictures(split).labels
        assert kinds(data, split)[0].equal(painter.draw(count, seed, labels))
    seen = set(data.pictures("train").hashes)
    assert not seen & set(data.pictures("test").hashes)
    assert not seen & set(data.pictures("val").hashes)
    later = painter.draw(80, 43, data.source.real_pictures("train").labels)
    assert not seen & set(TensorPictures(later).hashes)


def test_the_painter_is_asked_for_the_classes_of_the_real_pictures(prepared):
    data = prepared()
    drawn, _ = kinds(data, "train")
    labels = data.source.real_pictures("train").labels
    assert drawn[:, 0, 0, 1].tolist() == labels.tolist()
    assert torch.bincount(labels).tolist() == [54, 13, 13]


@pytest.mark.parametrize("known", [[], ["cat", "dog"]])
def test_a_painter_of_other_classes_is_not_asked_for_any(prepared, painter, known):
    import dataclasses

    drawn, _ = kinds(prepared(dataclasses.replace(painter, class_names=known)), "train")
    assert (drawn[:, 0, 0, 1] == 0).all()


def test_counts_are_limits(prepared):
    data = prepared(images=30, held_out=4)
    assert [len(data.pictures(split)) for split in ("train", "val", "test")] == [60, 8, 8]
    assert torch.bincount(data.source.real_pictures("train").labels).tolist() == [20, 5, 5]
    drawn, found = kinds(prepared(limit=20), "train")
    assert len(drawn) == len(found) == 10


def test_the_digest_tells_one_generator_from_another(prepared, painter):
    import dataclasses

    first = prepared().digest
    assert prepared().digest == first
    assert prepared(seed=5).digest != first
    other = dataclasses.replace(painter, weights="1" * 64, sample=lambda *given: -draw(*given))
    assert prepared(other).digest != first


def test_pictures_are_drawn_once(painter):
    import dataclasses

    def refuse(*_):
        raise AssertionError("drawn again")

    first = painter.draw(5, 3)
    assert first.dtype == torch.uint8
    again = dataclasses.replace(painter, sample=refuse)
    assert again.draw(5, 3).equal(first)
    for other in ((6, 3, None), (5, 4, None), (5, 3, torch.zeros(5, dtype=torch.int64))):
        with pytest.raises(AssertionError, match="drawn again"):
            again.draw(*other)
    with pytest.raises(AssertionError, match="drawn again"):
        dataclasses.replace(again, weights="1" * 64).draw(5, 3)


def test_more_pictures_of_a_seed_begin_with_the_same(painter):
    assert painter.draw(300, 3)[:5].equal(painter.draw(5, 3))


def test_a_generator_that_only_ever_draws_one_picture_is_refused_as_a_leak(prepared, painter):
    import dataclasses

    stuck = dataclasses.replace(painter, sample=lambda indices, *_: torch.ones(len(indices), *SHAPE))
    with pytest.raises(UserError, match="are also in"):
        prepared(stuck)


@pytest.fixture
def gallery(tmp_path):
    """A folder of so many drawn pictures, of so many pixels a side."""

    def made(count, side=6):
        folder = tmp_path / f"gallery{count}x{side}"
        pixels = torch.randint(0, 256, (count, 1, side, side), generator=torch.Generator().manual_seed(3))
        for index, picture in enumerate(pixels.to(torch.uint8)):
            save_png(folder / f"{index:04d}.png", picture)
        return folder

    return made


def test_a_folder_of_pictures_is_a_generator(prepared, gallery, tmp_path):
    pictures = Gallery.read(gallery(120), SHAPE, tmp_path / "cache")
    data = prepared(pictures)
    assert [len(kinds(data, split)[0]) for split in ("train", "val", "test")] == [80, 10, 10]
    hashes = [hashed for split in ("train", "val", "test") for hashed in TensorPictures(kinds(data, split)[0]).hashes]
    assert len(set(hashes)) == 100
    assert set(hashes) <= set(TensorPictures(pictures.pixels).hashes)


def test_a_small_folder_is_shared_out_in_proportion(prepared, gallery, tmp_path):
    data = prepared(Gallery.read(gallery(50), SHAPE, tmp_path / "cache"))
    for split, count in (("train", 40), ("val", 5), ("test", 5)):
        drawn, found = kinds(data, split)
        assert len(drawn) == len(found) == count


def test_folders_that_do_not_serve_are_refused(prepared, gallery, tmp_path):
    with pytest.raises(UserError, match=r"holds 10 pictures, too few .* at least 20"):
        prepared(Gallery.read(gallery(10), SHAPE, tmp_path / "cache"))
    with pytest.raises(UserError, match="has 5x5 pixels, less than the 6x6"):
        Gallery.read(gallery(20, side=5), SHAPE, tmp_path / "cache")
    assert Gallery.read(gallery(20, side=12), SHAPE, tmp_path / "cache").pixels.shape == (20, *SHAPE)


def test_pictures_of_different_shapes_are_refused(painter, real):
    import dataclasses

    with pytest.raises(UserError, match=r"draws pictures of \(3, 6, 6\) .* data.source.real.image_size"):
        RealOrGenerated().supply(dataclasses.replace(painter, shape=(3, 6, 6)), real())


def test_only_what_may_be_mirrored_is(painter, real, tmp_path):
    for flippable in (True, False):
        source = RealOrGenerated("dabbler")
        data = ImageData(source, augment=Augment(flip=True))  # what is real is not known yet
        source.supply(painter, real(flippable=flippable))
        data.locate(tmp_path, tmp_path / "cache")
        if flippable:
            data.prepare()
        else:
            with pytest.raises(UserError, match="would mirror"):
                data.prepare()
