import pytest

from darkroom.errors import UserError
from darkroom.models.schedule import Schedule


def test_constant_is_one():
    assert {Schedule("constant")(f) for f in (0, 0.3, 1)} == {1.0}


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_from_one_to_final(shape):
    schedule = Schedule(shape, hold=0.5, final=0.1)
    assert schedule(0.0) == schedule(0.5) == 1.0
    assert schedule(0.75) == pytest.approx(0.55)
    assert schedule(1.0) == pytest.approx(0.1)


def test_warmup_rises_in_a_line_and_then_falls():
    schedule = Schedule("linear", warmup=0.2, final=0.0)
    assert [schedule(f) for f in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0])


def test_never_negative_past_the_end():
    assert Schedule("linear", final=0.0)(1.2) == 0.0


def test_the_fall_may_end_before_the_budget_does():
    schedule = Schedule("cosine", end=0.2, final=0.1)
    assert [schedule(f) for f in (0.0, 0.1, 0.2, 0.7, 1.0)] == pytest.approx([1.0, 0.55, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("times", [{"hold": 0.5, "end": 0.5}, {"warmup": 0.3, "end": 0.2}])
def test_a_fall_that_ends_before_it_begins_is_refused(times):
    with pytest.raises(UserError, match="give end above hold and warmup"):
        Schedule("linear", **times)
    Schedule("constant", **times)
