"""A function of a configuration as a command: from the line that was typed to the code that the process exits with."""

import functools
import itertools
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from darkroom import paths, ranks, signals, streams, trust
from darkroom.config.checking import check
from darkroom.config.composing import compose, resolve
from darkroom.config.contradictions import several_devices
from darkroom.config.nodes import Node, targets
from darkroom.config.registering import COMPOSITION_ERRORS, register
from darkroom.config.sentences import explain
from darkroom.config.typed import Typed, in_grid
from darkroom.errors import Failure, Interrupted, UserError, out_of_memory, printable

around_points = ExitStack()  # what is open around all points of a grid, closed with the truth about how they ended

Command = Callable[[], None]


def command(
    name: str, preface: Callable[[Typed], str] | None = None
) -> Callable[[Callable[[Node], None]], Callable[[], None]]:
    """Make a function of a plain, resolved and checked configuration into the command ``darkroom <name>``.

    The result parses ``sys.argv`` as every Hydra program does, prints what a person got wrong as one sentence, and
    exits with 2 for that, 1 for a failure, 130 for an interruption. ``preface`` is what its help begins with.
    """

    def wrap(function: Callable[[Node], None]) -> Command:
        @functools.wraps(function)
        def main() -> None:
            streams.guard()
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would print, and we say it in a sentence
            outcome = _Outcome()

            def task(composed: DictConfig) -> None:
                _run(function, name, outcome, composed)

            task.__module__ = "darkroom"  # by which Hydra calls the program in its help
            program = hydra.main(version_base="1.3", config_path=str(paths.conf()), config_name=name)(task)
            typed = Typed(name)
            try:
                register()
                typed = Typed.parse(name, sys.argv[1:])
                if preface is not None and {"-h", "--help"} & set(typed.options):
                    print(preface(typed))
                typed = typed.read()
                if typed.grid:
                    typed = typed.spelt_out()
                    check_alone(name)
                    _check_points(typed)
                sys.argv[1:] = typed.arguments()
                with signals.interruptible(), around_points:
                    program()
            except (KeyboardInterrupt, Interrupted) as interruption:
                outcome.interrupt(interruption)
            except SystemExit as left:  # of Hydra, after its help, or of a command that says how it came out
                if left.code is not None and not isinstance(left.code, int):
                    raise
                outcome.code = max(outcome.code, left.code or 0)
            except UserError as error:
                outcome.refuse(name, str(error))
            except (*COMPOSITION_ERRORS, ValueError, AssertionError) as error:
                if outcome.composed:
                    raise
                outcome.refuse(name, explain(error, typed))
            sys.exit(streams.exit_code(outcome.code))

        return main

    return wrap


class _Outcome:
    """The exit code of a command, the worst of all points of a grid."""

    def __init__(self) -> None:
        self.code = 0
        self.composed = False  # from then on an error is the command's, no longer the configuration's

    def refuse(self, name: str, sentence: str, code: int = 2) -> None:
        print(f"darkroom {name}: {printable(sentence)}", file=sys.stderr)
        if os.environ.get("DARKROOM_DEBUG"):  # what a sentence was made of, for whoever looks for its cause
            traceback.print_exc()
        self.code = max(self.code, code)

    def interrupt(self, interruption: BaseException) -> None:
        named = str(interruption) if isinstance(interruption, Interrupted) else "SIGINT"
        self.code = 128 + signal.Signals[named].value


def _run(function: Callable[[Node], None], name: str, outcome: _Outcome, composed: DictConfig) -> None:
    """Run one command once; in a grid, a point that fails is reported and the others go on."""
    try:
        config = resolve(composed)
        check(config, name, in_grid())
        trust.allow(config.get("trust"), (node["_target_"] for _, node in targets(config)))
        check_alone(name, config.get("trainer"))
        outcome.composed = True
        function(config)
    except UserError as error:
        outcome.refuse(name, str(error))
    except Failure as error:
        outcome.refuse(name, str(error), code=1)
    except (KeyboardInterrupt, Interrupted) as interruption:
        outcome.interrupt(interruption)
        if in_grid():
            raise
    except Exception as error:
        if out_of_memory(error):
            said = " ".join(str(error).split())[:200].rstrip(".")
            sentence = f"There is not enough memory for what is asked ({said}): ask for less at once"
            outcome.refuse(name, f"{sentence}, such as a smaller data.batch_size.", code=1)
            return
        if not in_grid():
            raise
        traceback.print_exc()
        outcome.code = max(outcome.code, 1)


_READING = ("check", "compare", "dashboard")  # commands that leave nothing which one of several processes would


def check_alone(command: str, trainer: Node | None = None) -> None:
    """Refuse to begin as one of several processes that nobody started; see `ranks.check`."""
    if command not in _READING:
        trainer = trainer or {}
        ranks.check(several_devices(trainer), int(trainer.get("num_nodes", 1)))


def _check_points(typed: Typed) -> None:
    """Check every point of a grid before the first leaves a run.

    What another sweeper than Hydra's own would choose is not known yet: those points are checked in turn.

    Raises:
        UserError: a point is wrong, or there is none.
    """
    overrides = OverridesParser.create().parse_overrides(typed.overrides)
    if any(override.key_or_group == "hydra/sweeper" for override in overrides):
        return
    choices = [_choices(override) for override in overrides]
    for point in itertools.product(*choices):
        check(compose(typed.command, list(point), overlay=typed.folder), typed.command, grid=True)


def _choices(override: Override) -> list[str]:
    """Return what a grid makes of an override, one for each of its values.

    Raises:
        UserError: it has none, or endlessly many.
    """
    if not override.is_sweep_override():
        return [override.input_line or ""]
    if not override.is_discrete_sweep():
        raise UserError(f"{override.input_line} has no end of values for a grid to go through: type"
                        f" {override.get_key_element()}=<value>,<value>, or search with darkroom sweep.")  # fmt: skip
    values = list(override.sweep_string_iterator())
    if not values:
        raise UserError(f"{override.input_line} is an empty choice, so nothing would be done: type"
                        f" {override.get_key_element()}=<value>,<value>.")  # fmt: skip
    return [f"{override.get_key_element()}={value}" for value in values]
