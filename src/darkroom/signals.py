"""What asks a process to end, and how it ends without losing anything.

    with signals.interruptible():      # SIGTERM, SIGHUP and the like raise Interrupted, and everything is closed
        ...
        with signals.deferred():      # nothing cuts this short
            ...

A signal that was ignored when the process started stays ignored: so ``nohup`` goes on when its terminal is closed. Only
a process's main thread can listen; in any other these blocks change nothing. A platform that lacks a signal (Windows
has no SIGHUP) never sends it.
"""

import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from darkroom.errors import Interrupted


def _known(*names: str) -> tuple[signal.Signals, ...]:
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


# SIGHUP: the terminal was closed. SIGQUIT: Ctrl-\. SIGUSR1: a queue says that a job's time is nearly up.
ENDING = _known("SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1")
LISTENED = (signal.SIGINT, *ENDING)


def catchable(numbers: tuple[signal.Signals, ...] = LISTENED) -> list[signal.Signals]:
    """Return which signals this thread may listen to: none outside the main thread, and none that is ignored."""
    if threading.current_thread() is not threading.main_thread():
        return []
    # None: a handler that was not set from Python, and which could not be put back.
    return [number for number in numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]


@contextmanager
def interruptible() -> Iterator[None]:
    """Let whatever would end the process raise `Interrupted` in a block instead, once; what is handled already stays.

    Later ones are let pass: closing has begun. SIGINT raises KeyboardInterrupt anyway, as often as it comes.
    """
    taken = [number for number in catchable(ENDING) if signal.getsignal(number) is signal.SIG_DFL]

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in taken:
            signal.signal(each, _pass)
        release_terminal(number)
        raise Interrupted(signal.Signals(number).name)

    try:
        for number in taken:
            signal.signal(number, interrupt)
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def deferred(deliver: bool = False) -> Iterator[None]:
    """Let no signal cut a block short; with ``deliver`` the first that came is raised after it, else none is."""
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in catchable()}
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        release_terminal(number)
        came.append(number)

    try:
        for number in before:
            signal.signal(number, note)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if deliver and came:
        signal.raise_signal(came[0])


def release_terminal(number: int) -> None:
    """Do what a signal makes necessary at once: a terminal that is gone answers every word with an error."""
    if number not in _known("SIGHUP"):
        return
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        with suppress(OSError):  # closed
            there = os.fstat(standard)
            device = stat.S_ISCHR(there.st_mode) and there.st_rdev != os.fstat(null).st_rdev
            if device and not os.isatty(standard):  # a terminal that is there says that it is one
                os.dup2(null, standard)
    os.close(null)


def _pass(number: int, frame: FrameType | None) -> None:
    """Not SIG_IGN, which processes that are started meanwhile would inherit."""
    release_terminal(number)
