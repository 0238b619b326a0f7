"""What is recorded while the store is away: nobody waits, nothing is lost, nothing arrives twice."""

import contextlib
import errno
import json
import math
import os
import threading

import numpy as np
import pytest

from darkroom.tracking import outbox, run, sending, tag
from darkroom.tracking.outbox import Outbox
from darkroom.tracking.store import Store

PICTURE = np.arange(75, dtype=np.uint8).reshape(5, 5, 3)
METHODS = ("log_batch", "log_artifact", "log_inputs", "create_model_version", "set_terminated", "set_tag")
METHODS += ("create_registered_model", "set_registered_model_alias", "search_model_versions", "get_run")


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(run, "FLUSH_SECONDS", 0.02)
    monkeypatch.setattr(sending, "_LONGEST_WAIT", 0.05)
    monkeypatch.setattr(sending, "CLOSING_SECONDS", 0.3)


class Line:
    """The way to the store: whole, cut before a request arrives, or cut before the answer to one does."""

    def __init__(self, client, patch):
        self.cut = ""  # "away", "hanging"
        self.asked = 0
        self.lost = 0  # the number of the request whose answer is lost
        self.waiting, self.free = threading.Event(), threading.Event()
        for name in METHODS:
            patch.setattr(client, name, self._over(name, getattr(client, name)))

    def _over(self, name, method):
        from mlflow.exceptions import MlflowException

        def ask(*arguments, **named):
            self.asked += 1
            lost = self.asked == self.lost
            if self.cut == "hanging":
                self.waiting.set()
                self.free.wait(30)
            if self.cut != "away":
                answer = method(*arguments, **named)
            if lost or self.cut == "away":
                raise MlflowException(f"API request to http://me:pass@host/{name} failed with exception")
            return answer

        return ask


@pytest.fixture
def line(store, monkeypatch):
    return Line(store.client, monkeypatch)


def begin(store, name="first", **more):
    return run.start(store, "lab", name, {"seed": 0}, {"rate": 0.1}, **({"system_metrics": None} | more))


def points(store, run_id, name):
    return [(point.step, point.value) for point in store.client.get_metric_history(run_id, name)]


def record_everything(opened):
    for step in range(30):
        opened.log_metrics({"train/loss": step / 7, "val/fid": math.nan, "val/up": math.inf}, step)
    opened.log_params({"late": 1})
    opened.set_tags({"colour": "blue"})
    opened.log_dataset("digits", "d" * 64, "train")
    opened.log_picture("samples", PICTURE, 64)
    opened.log_picture("samples", PICTURE[:, :, :1], 128)
    opened.log_text("notes/first.txt", "here")
    (opened.folder / "checkpoints").mkdir(exist_ok=True)
    (opened.folder / "checkpoints" / "best.ckpt").write_bytes(b"weights")
    run.register(opened, "drawer", "champion")
    for step in range(30, 60):
        opened.log_metrics({"train/loss": step / 7, "val/fid": math.nan, "val/up": math.inf}, step)


def assert_everything_is_there_once(store, run_id, status="FINISHED"):
    assert points(store, run_id, "train/loss") == [(step, step / 7) for step in range(60)]
    assert [step for step, value in points(store, run_id, "val/fid") if math.isnan(value)] == list(range(60))
    assert [step for step, _ in points(store, run_id, "val/up")] == list(range(60))
    record = store.run(run_id)
    assert (record.status, record.params["late"], record.tags["colour"]) == (status, "1", "blue")
    assert len(store.client.get_run(run_id).inputs.dataset_inputs) == 1
    shown = [file.path for file in store.client.list_artifacts(run_id, "images")]
    assert [sum(path.endswith(end) for path in shown) for end in (".png", ".webp")] == [2, 2]
    assert len(store.client.search_model_versions("name = 'drawer'")) == 1
    assert store.client.get_model_version_by_alias("drawer", "champion").run_id == run_id
    assert not Outbox.left(record.folder.parent)
    assert list((store.runs_folder / ".claims").iterdir()) == []


def test_with_a_store_that_is_there_everything_arrives(store):
    with begin(store) as opened:
        record_everything(opened)
    assert_everything_is_there_once(store, opened.id)


def test_while_the_store_is_away_everything_waits_on_disk_and_nobody_is_kept(store, line, caplog):
    with begin(store) as opened:
        line.cut = "away"
        record_everything(opened)
        assert opened.flush() is False
        kept = opened.curves("train/")["train/loss"]
        assert kept == {step: step / 7 for step in range(60)}
        line.cut = ""
    assert_everything_is_there_once(store, opened.id)
    said = [record.message for record in caplog.records]
    (gone,) = [text for text in said if "does not answer" in text]
    (back,) = [text for text in said if "answers again" in text]
    assert "training goes on, and what is recorded waits in" in gone
    assert "pass" not in gone + back
    assert len(said) == 2


def test_while_the_store_hangs_nobody_is_kept(store, line):
    with begin(store) as opened:
        line.cut = "hanging"
        opened.log_metrics({"val/first": 1.0}, 0)
        assert line.waiting.wait(30)
        for step in range(60):
            opened.log_metrics({"train/loss": step}, step)
        opened.log_picture("samples", PICTURE, 64)
        opened.set_tags({"colour": "blue"})
        opened.log_params({"late": 1})
        opened.sync()
        assert not line.free.is_set()
        line.cut = ""
        line.free.set()
    assert points(store, opened.id, "train/loss") == [(step, step) for step in range(60)]
    assert points(store, opened.id, "val/first") == [(0, 1.0)]


@pytest.mark.parametrize(
    "turn", [turn if turn in (1, 5, 12) else pytest.param(turn, marks=pytest.mark.slow) for turn in range(1, 15)]
)
def test_what_was_received_although_the_answer_was_lost_is_not_there_twice(store, line, turn):
    """Whichever of the requests it is."""
    with begin(store) as opened:
        line.lost = line.asked + turn
        record_everything(opened)
    assert line.asked >= line.lost
    assert_everything_is_there_once(store, opened.id)


@pytest.mark.parametrize("received", [False, True])
@pytest.mark.parametrize("error", [None, ValueError("no luck")])
def test_a_run_that_ends_while_the_store_is_away_is_closed_by_whoever_comes_next(store, line, caplog, received, error):
    with contextlib.suppress(ValueError), begin(store) as opened:
        record_everything(opened)
        if received:  # but the last answers were lost, so that it is all sent again
            opened.flush()
            opened._outbox.confirm(0)
        line.cut = "away"
        opened.set_tags({"last": "words"})
        if error is not None:
            raise error
    status = "FINISHED" if error is None else "FAILED"
    (said,) = [record.message for record in caplog.records if "ended as" in record.message]
    assert f"{opened.id[:8]} first ended as {status}" in said
    assert str(opened._outbox.path) in said
    assert "darkroom compare" in said
    line.cut = ""
    again = Store.open(store.root)
    assert again.run(opened.id).status == "RUNNING"
    assert [record.run_id for record in again.reap()] == [opened.id]
    assert_everything_is_there_once(again, opened.id, status)
    record = again.run(opened.id)
    assert record.tags["last"] == "words"
    assert record.tags[tag.ENDED] == ("finished" if error is None else "ValueError: no luck")
    assert again.reap() == []


def test_a_request_that_hung_until_after_the_run_was_over_disturbs_nobody(store, line, tmp_path, monkeypatch):
    monkeypatch.setattr(sending, "_HANGING_SECONDS", 0.1)
    with begin(store) as opened:
        line.cut = "hanging"
        opened.log_metrics({"train/loss": 1.0}, 1)
        assert line.waiting.wait(30)
    other = Outbox(tmp_path / "other")  # which gets the numbers of the files that were closed
    other.append("first")
    before = [path.read_bytes() for path in sorted((tmp_path / "other").iterdir())]
    line.cut = ""
    line.free.set()
    opened._sender._thread.join(30)
    assert not opened._sender._thread.is_alive()
    assert [path.read_bytes() for path in sorted((tmp_path / "other").iterdir())] == before
    other.close()
    assert [record.run_id for record in Store.open(store.root).reap()] == [opened.id]
    assert points(store, opened.id, "train/loss") == [(1, 1.0)]
    assert store.run(opened.id).status == "FINISHED"


def test_what_is_recorded_after_the_end_is_sent_at_once(store):
    with begin(store) as opened:
        pass
    opened.set_tags({"late": "yes"})
    opened.log_metrics({"train/loss": 1.0}, 1)
    assert opened.flush()
    assert store.run(opened.id).tags["late"] == "yes"
    assert points(store, opened.id, "train/loss") == [(1, 1.0)]


def test_a_run_that_goes_on_first_sends_what_waited(store, line):
    with begin(store) as opened:
        opened.log_metrics({"train/loss": 1.0}, 1)
        line.cut = "away"
        opened.log_metrics({"train/loss": 2.0}, 2)
    line.cut = ""
    with run.resume(store, store.run(opened.id), {"seed": 0}, {"rate": 0.1}, system_metrics=None) as resumed:
        resumed.log_metrics({"train/loss": 9.0}, 2)  # computed a second time
        resumed.log_metrics({"train/loss": 3.0}, 3)
        assert resumed.curves("train/") == {"train/loss": {1: 1.0, 2: 2.0, 3: 3.0}}
    assert points(store, opened.id, "train/loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert store.run(opened.id).status == "FINISHED"


def test_what_the_store_refuses_keeps_nothing_waiting(store, caplog):
    with begin(store) as opened:
        opened.log_metrics({"train/loss": 1.0}, 1)
        opened._outbox.append("metrics", points=[["no?", 1.0, 1, 1]])
        opened._outbox.append("tags", values={"no?\n": "x"})
        opened._outbox.append("nonsense")
        opened.log_metrics({"train/loss": 2.0}, 2)
    assert points(store, opened.id, "train/loss") == [(1, 1.0), (2, 2.0)]
    assert store.run(opened.id).status == "FINISHED"
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3


def test_a_server_in_front_that_answers_for_the_store_loses_nothing(store, monkeypatch):
    """A proxy says "not found" while MLflow is started again; MLflow's client makes an error of it like its own."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import BAD_REQUEST, ENDPOINT_NOT_FOUND, RESOURCE_DOES_NOT_EXIST

    real, answers = store.client.log_batch, [BAD_REQUEST, ENDPOINT_NOT_FOUND, RESOURCE_DOES_NOT_EXIST]

    def answer(*arguments, **named):
        if answers:
            raise MlflowException("API request to endpoint /x failed with error code", answers.pop())
        real(*arguments, **named)

    with begin(store) as opened:
        monkeypatch.setattr(store.client, "log_batch", answer)
        opened.log_metrics({"train/loss": 1.0}, 1)
    assert answers == []
    assert points(store, opened.id, "train/loss") == [(1, 1.0)]


# --- the queue itself -------------------------------------------------------------------------------------------------


def kinds(box, offset=0):
    return [entry["kind"] for entry, _ in box.entries(offset)]


def test_a_queue_is_read_in_batches_and_found_again(tmp_path):
    box = Outbox(tmp_path)
    for step in range(2500):
        box.append("metrics", points=[["a", float(step), 0, step]])
    box.append("tags", values={"a": "b"})
    box.append("metrics", points=[["a", 0.0, 0, 2500]])
    sizes = []
    while box.waiting:
        batch, behind = box.batch(box.sent)
        sizes.append(len(batch))
        box.confirm(behind)
        if len(sizes) == 2:
            box.close()
            box = Outbox(tmp_path)
            assert box.batch(box.sent)[0][0]["points"] == [["a", 2000.0, 0, 2000]]
            assert len(box.batch(box.sent, alone=True)[0]) == 1
    assert sizes == [1000, 1000, 500, 1, 1]
    assert len(kinds(box)) == 2502
    box.remove()
    assert list(tmp_path.iterdir()) == []


TORN = [b'{"kind":"tags","val', b"\x00" * 50, b'{"other":1}\n{"kind":"tags"}\n', b"\n\n", b"7\n"]


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_end_is_dropped_and_written_over(tmp_path, torn):
    box = Outbox(tmp_path)
    box.append("first")
    box.append("second")
    box.confirm(box.end)
    box.close()
    with (tmp_path / "outbox.jsonl").open("ab") as file:
        file.write(torn)
    again = Outbox(tmp_path)
    assert not again.waiting
    again.append("third")
    assert kinds(again) == ["first", "second", "third"]
    assert kinds(again, again.sent) == ["third"]
    again.close()


@pytest.mark.parametrize("mark", [b"", b"garbage", b"  99999999"])
def test_a_damaged_mark_sends_what_may_not_have_been_sent(tmp_path, mark):
    Outbox(tmp_path).append("first")
    (tmp_path / "outbox.sent").write_bytes(mark)
    box = Outbox(tmp_path)
    assert box.sent == (0 if not mark.strip().isdigit() else box.end)
    box.close()


def test_a_full_disk_keeps_what_is_recorded_in_memory_and_in_order(tmp_path, monkeypatch):
    box, real = Outbox(tmp_path), os.pwrite

    def full(descriptor, data, offset):
        if len(data) > 5:
            return real(descriptor, data[:5], offset)  # some of it may still fit
        raise OSError(errno.ENOSPC, "No space left on device")

    box.append("first")
    monkeypatch.setattr(outbox.os, "pwrite", full)
    box.append("second")
    box.append("third")
    box.sync()
    assert box.full
    assert kinds(box) == ["first"]
    monkeypatch.setattr(outbox.os, "pwrite", real)
    box.append("fourth")
    assert not box.full
    assert kinds(box) == ["first", "second", "third", "fourth"]
    box.close()


def test_a_queue_takes_records_from_many_threads(tmp_path):
    box = Outbox(tmp_path)

    def write(number):
        for step in range(200):
            box.append("metrics", points=[[f"m{number}", float(step), 0, step]])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [json.loads(line)["points"][0] for line in box.path.read_text().splitlines()]
    for number in range(4):
        assert [step for name, _, _, step in found if name == f"m{number}"] == list(range(200))
    box.close()
