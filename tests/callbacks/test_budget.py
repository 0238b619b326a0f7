from types import SimpleNamespace

import pytest

from darkroom.callbacks import budget as module
from darkroom.callbacks.budget import Budget
from darkroom.callbacks.cadence import Cadence
from darkroom.models.model import Model
from darkroom.models.schedule import Schedule


def steps(budget, clock=None, monkeypatch=None, images=10, most=200):
    """Train in steps of ``images`` until told to stop; return what fraction each step saw."""
    if clock is not None:
        monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    model = Model((1, 8, 8), [], Schedule())
    trainer = SimpleNamespace(world_size=1, should_stop=False)
    budget.on_train_start(trainer, model)
    seen = []
    while not trainer.should_stop and len(seen) < most:
        budget.on_train_batch_start(trainer, model, None, 0)
        seen.append(model.fraction)
        model.images_seen += images
        budget.on_train_batch_end(trainer, model, None, None, 0)
    return seen


def test_images():
    assert steps(Budget(50, None)) == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert len(steps(Budget(41, None))) == 5


def test_minutes_of_a_clock(monkeypatch):
    ticks = iter(range(0, 10_000, 6))  # six seconds a look
    seen = steps(Budget(None, 1), ticks, monkeypatch)
    assert seen == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


def test_whichever_comes_first(monkeypatch):
    assert len(steps(Budget(30, 1), iter(range(0, 10_000, 6)), monkeypatch)) == 3
    assert len(steps(Budget(10_000, 1), iter(range(0, 10_000, 6)), monkeypatch)) == 10


@pytest.mark.parametrize("images", [None, 70])
def test_a_followed_pace_gives_the_same_fractions_without_a_clock(monkeypatch, images):
    timed = Budget(images, 1)
    seen = steps(timed, iter([0, 0, 3, 5, 5, 20, 21, 22, 40, 41, 70, 71, 72, 99, 99, 99]), monkeypatch)
    followed = Budget(images, 1, pace=timed.pace)
    assert steps(followed, iter([0] * 99), monkeypatch) == seen


def test_time_and_pace_go_on_where_they_stopped(monkeypatch):
    first = Budget(None, 1)
    steps(first, iter(range(0, 10_000, 6)), monkeypatch, most=4)
    second = Budget(None, 1)
    second.load_state_dict(first.state_dict())
    assert second.elapsed == first.elapsed > 0
    rest = steps(second, iter(range(500, 10_000, 6)), monkeypatch)
    assert rest == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


def test_cadence_is_due_once_for_each_multiple_passed():
    cadence = Cadence(100)
    assert [after for after in range(64, 641, 64) if cadence.due(after - 64, after)] == [128, 256, 320, 448, 512, 640]
    assert not cadence.due(100, 199)
    assert cadence.due(0, 250)
