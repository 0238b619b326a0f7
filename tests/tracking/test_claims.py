"""A kill at any moment leaves nothing, or a run that is recognised and closed; names and times of runs that are one
after another.
"""

import functools
import multiprocessing
import os
import signal
import threading
import time

import filelock
import pytest

from darkroom.errors import UserError
from darkroom.tracking import clock, naming, run, sending, tag
from darkroom.tracking.claims import Claim
from darkroom.tracking.outbox import Outbox
from darkroom.tracking.store import Store

# Where a process is killed: before or after which call, of which object, and whether a run exists by then.
MOMENTS = {
    "before the claim": ("before", Claim, "take"),
    "in the claim": ("before", Claim, "note"),
    "after the claim": ("after", Claim, "take"),
    "after the run is made": ("after", "client", "create_run"),
    "after it is noted": ("after", Claim, "note"),
    "before its folder": ("before", run, "_held"),
    "before its lock": ("before", filelock.FileLock, "acquire"),
    "with its lock": ("before", Outbox, "__init__"),
    "with its outbox": ("after", Outbox, "__init__"),
    "before anything is sent": ("before", sending.Sender, "start"),
    "at work": ("before", run.Run, "sync"),
    "when it is over": ("before", sending.Sender, "close"),
    "when all is sent": ("before", Outbox, "remove"),
    "before the claim goes": ("before", Claim, "drop"),
    "when the claim is gone": ("after", Claim, "drop"),
}
QUICK = ("after the run is made", "before its lock", "at work", "before the claim goes")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def armed(when, method, left):
    """A method that kills its process the ``left``-th time."""

    @functools.wraps(method)
    def deadly(*arguments, **named):
        left[0] -= 1
        if when == "before" and left[0] == 0:
            die()
        answer = method(*arguments, **named)
        if left[0] == 0:
            die()
        return answer

    return deadly


def live(root, when, owner, name, resumed):
    """Make or resume a run until death comes."""
    store = Store.open(root)
    target = store.client if owner == "client" else owner
    # Locks of names and of experiments are taken before: the run's own is the last of three, or the first.
    turns = {"acquire": 1 if resumed else 2, "note": 2 if when == "after" and not resumed else 1}.get(name, 1)
    method = getattr(target, name)
    if name == "take":
        setattr(target, name, staticmethod(armed(when, method, [turns])))
    else:
        setattr(target, name, armed(when, method, [turns]))
    opening = (
        run.resume(store, store.find("first"), {}, {}, system_metrics=None)
        if resumed
        else run.start(store, "lab", "first", {}, {}, system_metrics=None)
    )
    with opening as opened:
        opened.log_metrics({"train/loss": 2.0}, 2)
        opened.sync()
    die()


def killed(root, *arguments):
    process = multiprocessing.get_context("fork").Process(target=live, args=(root, *arguments))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def moments():
    return [moment if moment in QUICK else pytest.param(moment, marks=pytest.mark.slow) for moment in MOMENTS]


@pytest.mark.parametrize("moment", moments())
def test_a_kill_at_any_moment_leaves_nothing_or_a_run_that_is_closed(store, moment):
    store.experiment_id("lab")
    killed(store.root, *MOMENTS[moment], False)
    store = Store.open(store.root)
    before = store.runs()
    reaped = store.reap()
    assert {record.status for record in store.runs()} <= {"KILLED", "FINISHED"}
    assert len(store.runs()) == len(before) == (0 if moment in list(MOMENTS)[:3] else 1)
    assert len(reaped) == sum(record.status == "RUNNING" for record in before)
    over = list(MOMENTS).index(moment) >= list(MOMENTS).index("when it is over")
    for record in store.runs():
        points = [(point.step, point.value) for point in store.client.get_metric_history(record.run_id, "train/loss")]
        assert points == ([(2, 2.0)] if over or moment == "at work" else [])
        assert not Outbox.left(record.folder.parent)
    assert store.reap() == []
    left = list((store.runs_folder / ".claims").glob("*.json"))
    assert len(left) == (moment == "after the claim")
    for path in left:  # a server may be busy with the request, but not for a day
        os.utime(path, (0, 0))
    store.reap()
    assert list((store.runs_folder / ".claims").glob("*.json")) == []


@pytest.mark.slow
@pytest.mark.parametrize("moment", [moment for moment in MOMENTS if MOMENTS[moment][1:] != ("client", "create_run")])
def test_a_kill_at_any_moment_of_going_on_leaves_a_run_that_is_closed(store, moment):
    with run.start(store, "lab", "first", {}, {}, system_metrics=None) as opened:
        opened.log_metrics({"train/loss": 1.0}, 1)
    killed(store.root, *MOMENTS[moment], True)
    store = Store.open(store.root)
    store.reap()
    (record,) = store.runs()
    assert record.status in ("KILLED", "FINISHED")
    assert record.ended > record.started
    history = store.client.get_metric_history(record.run_id, "train/loss")
    assert [point.step for point in history] in ([1], [1, 2])
    assert not Outbox.left(record.folder.parent)
    with run.resume(store, record, {}, {}, system_metrics=None):
        pass
    assert store.runs()[0].status == "FINISHED"
    store.reap()
    assert list((store.runs_folder / ".claims").glob("*.json")) == []


def test_only_what_was_claimed_here_is_reaped(store):
    """A run of another machine, as far as it had come: with its claim and its process there, and none of it here."""
    number = store.experiment_id("lab")
    tags = {tag.CLAIM: "f" * 32, tag.PROCESS: "elsewhere:1"}
    foreign = store.client.create_run(number, run_name="foreign", tags=tags).info.run_id
    held = Claim.take(store.runs_folder)
    ours = store.client.create_run(number, run_name="ours", tags={tag.CLAIM: held.token}).info.run_id
    assert store.reap() == []
    held.release()
    assert [record.run_id for record in store.reap()] == [ours]
    assert {record.run_id: record.status for record in store.runs()} == {foreign: "RUNNING", ours: "KILLED"}


def test_a_claim_of_another_store_waits_for_it(store):
    claim = Claim.take(store.runs_folder, "e" * 32)
    claim.release()
    os.utime(claim.path, (0, 0))
    assert store.reap() == []
    assert claim.path.exists()


def test_a_claim_that_is_damaged_is_searched_by_its_token(store):
    claim = Claim.take(store.runs_folder)
    made = store.client.create_run(store.experiment_id("lab"), run_name="a", tags={tag.CLAIM: claim.token}).info.run_id
    claim.release()
    claim.path.write_bytes(b"\x00garbage")
    assert [record.run_id for record in store.reap()] == [made]


# --- names ------------------------------------------------------------------------------------------------------------


def numbered(store, experiment="gan/digits", **more):
    with run.start(store, experiment, None, {}, {}, system_metrics=None, **more) as opened:
        pass
    return opened


def test_a_number_is_given_once_whatever_becomes_of_its_run(store):
    first, second = numbered(store), numbered(store)
    assert [first.name, second.name] == ["gan-digits-1", "gan-digits-2"]
    store.client.delete_run(second.id)
    third = numbered(store)
    assert third.name == "gan-digits-3"
    for gone in (second, third):  # and gone for good, as by mlflow gc
        naming_store = store.client._tracking_client.store
        naming_store._hard_delete_run(gone.id)
    assert numbered(store).name == "gan-digits-4"
    assert numbered(store, "vae/digits").name == "vae-digits-1"


def test_numbers_of_before_and_numbers_that_were_typed_count(store):
    number = store.experiment_id("gan/digits")
    for name in ("gan-digits-7", "gan-digits-x", "gan-digits-", "another-9", "gan-digits-3"):
        deleted = store.client.create_run(number, run_name=name).info.run_id
        store.client.delete_run(deleted)
    assert numbered(store).name == "gan-digits-8"
    with run.start(store, "gan/digits", "gan-digits-20", {}, {}, system_metrics=None):
        pass
    assert numbered(store).name == "gan-digits-21"
    with run.start(store, "gan/digits", "gan-digits-5", {}, {}, system_metrics=None):
        pass
    store.client.update_run(store.find("gan-digits-5").run_id, name="gan-digits-22")  # as in the dashboard
    assert numbered(store).name == "gan-digits-23"


def test_a_stem_has_numbers_of_its_own(store):
    names = [numbered(store, "edit", stem=stem).name for stem in ("denoise", "upscale", "denoise")]
    assert names == ["denoise-1", "upscale-1", "denoise-2"]


def test_runs_that_begin_at_once_do_not_share_a_number(store):
    names, barrier = [], threading.Barrier(4)

    def begin():
        barrier.wait()
        names.append(numbered(store).name)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names) == [f"gan-digits-{number}" for number in range(1, 5)]
    assert len({record.started for record in store.runs()}) == 4


def test_a_number_that_another_machine_gave_at_the_same_moment_is_changed(store):
    number = store.experiment_id("gan/digits")
    theirs, ours = (store.client.create_run(number, run_name="gan-digits-1").info.run_id for _ in range(2))
    assert naming.settle(store, "gan-digits", number, ours, "gan-digits-1") == "gan-digits-2"
    assert [store.run(run_id).name for run_id in (theirs, ours)] == ["gan-digits-1", "gan-digits-2"]
    assert naming.settle(store, "gan-digits", number, ours, "gan-digits-2") == "gan-digits-2"


def test_a_name_of_several_runs_is_refused_with_their_ids(store):
    ids = []
    for _ in range(2):
        with run.start(store, "lab", "twice", {}, {}, system_metrics=None) as opened:
            ids.append(opened.id)
    with pytest.raises(UserError, match="'twice' is the name of several runs") as refused:
        store.find("twice")
    assert all(run_id[:8] in str(refused.value) for run_id in ids)
    store.client.delete_run(ids[0])
    assert store.find("twice").run_id == ids[1]
    with run.start(store, "lab", ids[1][:6], {}, {}, system_metrics=None) as opened:  # a name like another's id
        pass
    with pytest.raises(UserError, match="several runs"):
        store.find(ids[1][:6])
    assert store.find(opened.id).run_id == opened.id
    assert store.find(ids[1]).run_id == ids[1]


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_leaves_order_and_durations_true(store, monkeypatch):
    wall, steady = [time.time()], [100.0]
    monkeypatch.setattr(clock.time, "time", lambda: wall[0])
    monkeypatch.setattr(clock.time, "monotonic", lambda: steady[0])

    def pass_by(seconds, back):
        steady[0] += seconds
        wall[0] += seconds - back

    for index in range(3):
        with run.start(store, "lab", f"run {index}", {}, {}, system_metrics=None) as opened:
            for step in range(3):
                opened.log_metrics({"train/loss": float(step)}, step)
                opened.log_metrics({"val/same": float(step)}, 7)
                pass_by(10.0, back=3600.0)
    records = store.runs()
    assert [record.name for record in records] == ["run 2", "run 1", "run 0"]
    assert store.find("latest").name == "run 2"
    assert [(record.ended - record.started).total_seconds() for record in records] == [30.0] * 3
    assert store.curve(opened.id, "train/loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert store.curve(opened.id, "val/same") == [(7, 2.0)]
    first = store.find("run 0")
    with run.resume(store, first, {}, {}, system_metrics=None) as opened:
        opened.log_metrics({"val/same": 9.0}, 8)
        pass_by(5.0, back=0.0)
    again = store.find("run 0")
    assert again.ended > first.ended
    times = [point.timestamp for point in store.client.get_metric_history(first.run_id, "val/same")]
    assert times == sorted(times)


def test_a_run_whose_process_vanished_lasted_until_its_last_record(store, monkeypatch):
    killed(store.root, "before", run.Run, "sync", False)
    wall = time.time()
    monkeypatch.setattr(time, "time", lambda: wall + 86_400)
    store = Store.open(store.root)
    (record,) = store.reap()
    record = store.run(record.run_id)
    assert 0 <= (record.ended - record.started).total_seconds() < 3600
