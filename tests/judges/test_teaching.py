import pytest
import torch

from darkroom.errors import UserError
from darkroom.judges import teaching
from darkroom.judges.certificate import STRENGTHS
from darkroom.judges.judge import Judge
from darkroom.judges.teaching import PUZZLES, accuracy, freeze, puzzles, shifted, train_judge
from darkroom.networks.lenet import LeNet
from darkroom.networks.resnet import ResNet


@pytest.fixture(scope="module")
def teach():
    def teach(data, seed=0):
        return train_judge(data, seed=seed, images=3000, batch_size=30, width=4, feature_dim=8)

    return teach


def test_a_judge_learns(data, teach, random_state):
    before = random_state()
    judge = teach(data)
    assert random_state() == before
    assert judge.training_record.val_accuracy > 0.95
    assert judge.training_record.split_digests == data.split_digests
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


def test_the_number_of_threads_changes_nothing(data):
    threads = torch.get_num_threads()
    hashes = set()
    for count in (1, 2):
        torch.set_num_threads(count)
        hashes.add(train_judge(data, images=1500, batch_size=30, width=4, feature_dim=8).hash)
        assert torch.get_num_threads() == count
    torch.set_num_threads(threads)
    assert len(hashes) == 1


def test_pictures_without_classes_are_turned_and_damaged(make_data, random_state):
    data = make_data(class_names=[])
    before = random_state()
    judge = train_judge(data, images=4000, batch_size=40, width=4, feature_dim=8)
    assert random_state() == before
    assert judge.training_record.taught == PUZZLES
    assert judge.class_names == []
    assert not judge.names
    assert judge.network["classes"] == 4 + len(STRENGTHS)
    # Upright and level bars are off the centre by one side, which turns move around.
    assert judge.training_record.val_accuracy > 0.325
    # Its features are standardised over puzzles, among which the pictures as they are lie close together.
    spread = judge.features(data.pictures("train").pixels).std(dim=0)
    assert spread.mean() < 0.9


def test_a_judge_that_would_see_damage_alone_is_refused(make_data):
    data = make_data(class_names=[])
    for pictures in data.splits.values():
        pictures.pixels = torch.full_like(pictures.pixels, 90)
    with pytest.raises(UserError, match="would see damage and nothing of what is shown"):
        train_judge(data, images=90, batch_size=30, width=4, feature_dim=8)


def test_features_are_fewer_when_pictures_are(make_data):
    assert [teaching._feature_dim(make_data(val=count, test=200)) for count in (129, 128, 64, 10)] == [64, 32, 16, 16]


def test_puzzles_are_what_their_answers_say():
    images = torch.randint(0, 256, (400, 1, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    posed, turn, damage = puzzles(images, 4, torch.Generator().manual_seed(1))
    assert set(turn.tolist()) == {0, 1, 2, 3}
    assert ((damage > 0).sum(dim=1) <= 1).all()
    assert {round(6 * value) for value in damage.flatten().tolist()} == set(range(7))
    turned = torch.stack([image.rot90(int(times), dims=(1, 2)) for image, times in zip(images, turn, strict=True)])
    whole = (damage == 0).all(dim=1)
    assert 40 < whole.sum() < 120
    assert torch.equal(posed[whole], turned[whole])
    changed = (posed.double() - turned.double()).square().mean(dim=(1, 2, 3))
    for column in range(4):
        weak, strong = (changed[(damage[:, column] * 6).round() == place].mean() for place in (2, 6))
        assert 0 < weak < strong
    _, halves, _ = puzzles(images[:, :, :10], 2, torch.Generator().manual_seed(1))
    assert set(halves.tolist()) == {0, 1}


def test_a_trained_network_is_frozen_as_it_is(make_data, tmp_path):
    data = make_data(class_names=["upright", "level", "cross"])
    data.image_shape = (1, 12, 12)
    torch.manual_seed(0)
    from darkroom.networks.convnet import ConvNet

    network = {"channels": 1, "classes": 3, "width": 4, "feature_dim": 8}
    net = ConvNet(**network).eval()
    judge = freeze(net, "convnet.ConvNet", network, data, images_seen=7, seed=5, made_with="chance")
    again = Judge.load(judge.save(tmp_path))
    pixels = data.pictures("train").pixels
    assert again.hash == judge.hash
    assert torch.allclose(again.logits(pixels), net(pixels.float() / 127.5 - 1).detach(), atol=1e-5)
    assert (again.training_record.images_seen, again.training_record.seed) == (7, 5)
    seen = again.features(pixels).double()
    assert torch.allclose(seen.mean(dim=0), torch.zeros(8, dtype=torch.float64), atol=1e-4)
    assert again.training_record.val_accuracy == accuracy(net, data.pictures("val"))


def test_any_plain_network_can_be_a_judge(tmp_path):
    torch.manual_seed(0)
    net = LeNet(channels=3, classes=2, feature_dim=6).eval()
    from darkroom.judges.judge import TrainingRecord

    tensors = {f"net.{name}": tensor.contiguous() for name, tensor in net.state_dict().items()}
    tensors |= {"feature_mean": torch.zeros(6), "feature_std": torch.ones(6)}
    judge = Judge(
        "pair", {"channels": 3, "classes": 2, "feature_dim": 6}, tensors, (3, 32, 32), ["a", "b"],
        TrainingRecord("pair", "", {}, 0.5, 0, 0, "chance"), architecture="lenet.LeNet",
    )  # fmt: skip
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    again = Judge.load(judge.save(tmp_path))
    floats = images.float() / 127.5 - 1
    assert torch.allclose(again.features(images), net.features(floats).detach(), atol=1e-5)
    assert torch.allclose(again.logits(images), net(floats).detach(), atol=1e-5)
    assert len(again.seen(images).maps) == 3


def test_residual_networks_are_no_judges(data):
    net = ResNet(channels=1, classes=3, blocks=1, width=4)
    with pytest.raises(UserError, match="residual connections"):
        freeze(net, "resnet.ResNet", {}, data, images_seen=0, seed=0, made_with="")


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
