import torch

from darkroom.data.order import BalancedOrder, TrainStream
from darkroom.data.pictures import TensorPictures

# Four classes of 3, 10, 1 and 7 pictures, in no order; class 2 has none.
LABELS = torch.tensor([0, 1, 1, 4, 1, 4, 0, 1, 1, 4, 3, 1, 4, 4, 1, 1, 0, 4, 1, 4, 1])


def test_every_round_shows_each_class_once():
    order = BalancedOrder(LABELS, seed=3)
    assert order.count == 40  # the largest class has ten pictures
    rounds = LABELS[order.indices(0, 3 * order.count)].view(-1, 4)
    assert (rounds.sort(dim=1).values == torch.tensor([0, 1, 3, 4])).all()
    assert len({tuple(row.tolist()) for row in rounds}) > 10  # not always in the same order
    part = torch.bincount(LABELS[order.indices(7, 26)])[[0, 1, 3, 4]]
    assert part.max() - part.min() <= 2


def test_a_pass_shows_classmates_equally_often():
    order = BalancedOrder(LABELS, seed=3)
    for number in range(3):
        shown = torch.bincount(order.permutation(number), minlength=len(LABELS))
        assert shown.sum() == 40
        for label, size in ((0, 3), (1, 10), (3, 1), (4, 7)):
            times = shown[LABELS.eq(label)]
            assert times.sum() == 10
            assert times.min() >= 10 // size
            assert times.max() <= -(-10 // size)


def test_the_order_is_a_function_of_seed_and_position():
    whole = BalancedOrder(LABELS, seed=3).indices(0, 150)
    order = BalancedOrder(LABELS, seed=3)
    for first, count in ((93, 57), (0, 11), (39, 2), (40, 40), (149, 1)):
        assert order.indices(first, count).equal(whole[first : first + count])
    assert not BalancedOrder(LABELS, seed=4).indices(0, 150).equal(whole)
    passes = whole[:120].view(3, 40)
    assert not passes[0].equal(passes[1])


def test_a_balanced_set_is_seen_as_often_either_way():
    labels = torch.arange(12) % 3
    order = BalancedOrder(labels, seed=0)
    assert order.permutation(0).sort().values.equal(torch.arange(12))


def numbered():
    return TensorPictures(torch.arange(len(LABELS), dtype=torch.uint8).view(-1, 1, 1, 1), LABELS)


def batches(count, first=0, rank=0, world_size=1):
    stream = iter(TrainStream(numbered(), 5, first, 12, rank, world_size, balanced=True))
    return [next(stream) for _ in range(count)]


def test_a_balanced_stream_resumes_anywhere_and_is_shared_out():
    whole = batches(9)
    for batch in whole:
        assert torch.bincount(batch["labels"])[[0, 1, 3, 4]].tolist() == [3] * 4
        assert LABELS[batch["images"].flatten().long()].equal(batch["labels"])
    for step, batch in enumerate(batches(4, first=5 * 12)):
        assert batch["images"].equal(whole[5 + step]["images"])
    parts = [batches(9, rank=rank, world_size=3) for rank in range(3)]
    for step, batch in enumerate(whole):
        assert batch["images"].equal(torch.cat([part[step]["images"] for part in parts]))
