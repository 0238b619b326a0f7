import pytest
import torch

from darkroom.errors import UserError
from darkroom.metrics.judge import accuracy, shifted, train_judge


@pytest.fixture(scope="module")
def teach():
    def teach(data, seed=0):
        return train_judge(data, seed=seed, images=3000, batch_size=30, width=4, feature_dim=8)

    return teach


def test_a_judge_learns(data, teach, random_state):
    before = random_state()
    judge = teach(data)
    assert random_state() == before
    assert judge.upbringing.val_accuracy > 0.95
    assert judge.upbringing.split_digests == data.split_digests
    assert (judge.name, judge.image_shape, judge.class_names) == ("bars", (1, 12, 12), data.class_names)
    test = data.pictures("test")
    named = judge.logits(test.pixels).argmax(dim=1)
    assert (named == test.labels).double().mean().item() == accuracy(judge.net.net, test)

    seen = judge.features(data.pictures("train").pixels).double()
    alive = seen.std(dim=0) > 0.5  # a unit that never fires stays at 0
    assert alive.sum() >= 4
    assert torch.allclose(seen.mean(dim=0), torch.zeros(8, dtype=torch.float64), atol=1e-4)
    assert torch.allclose(seen.std(dim=0)[alive], torch.ones(int(alive.sum()), dtype=torch.float64), atol=1e-4)


def test_the_same_seed_makes_the_same_judge(data, teach):
    first = teach(data, seed=3)
    torch.rand(7)
    assert teach(data, seed=3).hash == first.hash
    assert teach(data, seed=4).hash != first.hash


def test_unlabelled_data_teach_nothing(make_data):
    with pytest.raises(UserError, match="no classes to teach"):
        train_judge(make_data(class_names=[]))


def test_what_cannot_be_learned_makes_no_judge(data, teach):
    generator = torch.Generator().manual_seed(0)
    for pictures in data.splits.values():
        pictures.labels = torch.randint(0, 3, (len(pictures),), generator=generator)
    with pytest.raises(UserError, match="its features would mean nothing"):
        teach(data)


def test_shifts_move_whole_pictures():
    images = torch.arange(200 * 2 * 9, dtype=torch.int64).reshape(200, 2, 3, 3).remainder(251).to(torch.uint8)
    moved = shifted(images, 1, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(images.float(), (1, 1, 1, 1), mode="replicate").to(torch.uint8)
    seen = set()
    for before, after in zip(padded, moved, strict=True):
        places = [(y, x) for y in range(3) for x in range(3) if torch.equal(before[:, y : y + 3, x : x + 3], after)]
        assert places
        seen.update(places)
    assert len(seen) == 9
    assert torch.equal(shifted(images, 0, torch.Generator()), images)
