"""Whatever asks a process to end is heard, unless it was to be ignored; nothing that closes a run is cut short."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time

import pytest

from darkroom import signals
from darkroom.callbacks.interruption import Signals
from darkroom.errors import Interrupted
from darkroom.tracking import run, tag
from darkroom.tracking.run import Run

ENDING = [number.name for number in signals.ENDING]


@pytest.fixture(autouse=True)
def nothing_ignored():
    """Begin as in a terminal: under nohup, or behind &, some signals are ignored, here and in what is started."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in signals.ENDING}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", ENDING)
def test_what_ends_a_process_is_raised_in_the_block_and_given_back(name):
    number = signal.Signals[name]
    assert signal.getsignal(number) is signal.SIG_DFL
    with pytest.raises(Interrupted, match=name), signals.interruptible():
        signal.raise_signal(number)
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("first", ENDING)
@pytest.mark.parametrize("second", ENDING)
def test_a_second_signal_changes_nothing(first, second):
    closed = []

    def block():
        with signals.interruptible():
            try:
                signal.raise_signal(signal.Signals[first])
            finally:
                signal.raise_signal(signal.Signals[second])
                closed.append(True)

    with pytest.raises(Interrupted, match=first):
        block()
    assert closed == [True]


@pytest.mark.parametrize("name", ENDING)
def test_what_was_ignored_stays_ignored(name):
    number = signal.Signals[name]
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with signals.interruptible(), signals.deferred(deliver=True):
            signal.raise_signal(number)
            assert number not in signals.catchable()
        callback = Signals()
        callback.on_train_start(None, None)
        signal.raise_signal(number)
        callback.teardown(None, None, "fit")
        assert callback.received is None
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("name", ["SIGINT", *ENDING])
def test_what_comes_while_closing_comes_after_it(name):
    done, expected = [], KeyboardInterrupt if name == "SIGINT" else Interrupted

    def block(deliver):
        with signals.interruptible(), signals.deferred(deliver):
            signal.raise_signal(signal.Signals[name])
            signal.raise_signal(signal.Signals[name])
            done.append(deliver)

    with pytest.raises(expected):
        block(deliver=True)
    block(deliver=False)
    assert done == [True, False]


@pytest.mark.parametrize("name", ["SIGINT", *ENDING])
def test_training_stops_after_the_step_and_only_a_second_ctrl_c_at_once(name):
    callback = Signals()
    callback.on_train_start(None, None)
    try:
        signal.raise_signal(signal.Signals[name])
        for again in ENDING:
            signal.raise_signal(signal.Signals[again])
        assert callback.received == name
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        callback.teardown(None, None, "fit")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_thread_listens_to_nothing():
    seen = []

    def work():
        with signals.interruptible(), signals.deferred(deliver=True):
            seen.append(signals.catchable())
        callback = Signals()
        callback.on_train_start(None, None)
        callback.teardown(None, None, "fit")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [[]]


def test_a_platform_without_a_signal_never_sends_it(monkeypatch):
    monkeypatch.delattr(signal, "SIGHUP")
    monkeypatch.delattr(signal, "SIGQUIT")
    assert signals._known("SIGTERM", "SIGHUP", "SIGQUIT") == (signal.SIGTERM,)
    signals.release_terminal(signal.SIGTERM)


def test_a_run_that_is_being_closed_is_closed_whatever_comes(store, monkeypatch):
    close = Run._close

    def slowly(self, status, reason):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        close(self, status, reason)

    def live(error):
        with run.start(store, "lab", error or "whole", {}, {}, system_metrics=None):
            if error:
                raise Interrupted(error)

    monkeypatch.setattr(Run, "_close", slowly)
    with pytest.raises(Interrupted, match="SIGHUP"):
        live("SIGHUP")
    with pytest.raises((Interrupted, KeyboardInterrupt)):
        live(None)
    found = {record.name: (record.status, record.tags[tag.ENDED]) for record in store.runs()}
    assert found == {"SIGHUP": ("KILLED", "interrupted by SIGHUP"), "whole": ("FINISHED", "finished")}


WORDS = """
import sys, time
from darkroom import signals
from darkroom.errors import Interrupted
try:
    with signals.interruptible():
        print("here", flush=True)
        time.sleep(60)
except Interrupted as interrupted:
    print("a word to nobody", flush=True)
    print("and another", file=sys.stderr, flush=True)
    open(sys.argv[1], "w").write(str(interrupted))
"""


def test_a_terminal_that_is_gone_takes_nothing_with_it(tmp_path):
    said = tmp_path / "said"
    process, terminal = pty.fork()
    if process == 0:
        os.execv(sys.executable, [sys.executable, "-c", WORDS, str(said)])
    assert b"here" in os.read(terminal, 100)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert said.read_text() == "SIGHUP"


def test_what_nohup_started_goes_on():
    command = ["nohup", sys.executable, "-c", WORDS.replace("sleep(60)", "sleep(1)"), "nowhere"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 0
    assert process.stdout.read() == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGHUP", "SIGQUIT"])
def test_a_command_says_which_signal_ended_it(store, name):
    line = "train profile=smoke model=classifier data.image_size=8 model.network.width=4 budget.images=1000000"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "darkroom", *line.split(), "saving.every_minutes=0.001"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if any((made.folder / "checkpoints" / "last.ckpt").exists() for made in store.runs()):
            break
        time.sleep(0.2)
    process.send_signal(signal.Signals[name])
    _, said = process.communicate(timeout=60)
    record = store.find("latest")
    assert process.returncode == 128 + signal.Signals[name]
    assert (record.status, record.tags[tag.ENDED]) == ("KILLED", f"interrupted by {name}")
    assert f"darkroom train resume={record.short_id}" in said
