"""Find the command, then get out of the way."""

import importlib
import os
import runpy
import sys

from darkroom import paths, streams
from darkroom.errors import did_you_mean
from darkroom.version import __version__

COMMANDS = {
    "train": "train a model, score it on the test split, leave a run",
    "evaluate": "score a run, or pictures that others made",
    "generate": "draw pictures with a trained run",
    "edit": "repair, enlarge, restyle and move what pictures show",
    "compare": "put runs side by side: settings, numbers, verdict",
    "sweep": "search settings by short trials, and say what to type for the best",
    "report": "write one page from runs: tables, curves, pictures, costs",
    "dashboard": "open the runs in the browser, families side by side",
    "reproduce": "make a run again and say whether it came out the same",
    "explain": "show which pixels a model's answer rests on",
    "audit": "measure a model group by group, or a detector on generators it never saw",
    "prepare": "find or fetch data, verify and split them, say what they are",
    "judge": "freeze the network that scores are seen through, with its certificate",
    "check": "compose and verify every file in conf/",
}


def usage() -> str:
    """Return what ``darkroom --help`` prints."""
    width = max(map(len, COMMANDS))
    verbs = "\n".join(f"  {name:<{width}}  {sentence}" for name, sentence in COMMANDS.items())
    return f"""Darkroom {__version__}: a lab for generating and editing images.

Usage: darkroom <command> [setting=value ...]

{verbs}

  darkroom train                               a GAN on handwritten digits, about a minute
  darkroom train experiment=gan/mnist          a named experiment
  darkroom train -m seed=0,1,2                 a grid: one run for each value
  darkroom sweep search=gan                    a search: short runs, then what to type for the best
  darkroom <command> --help                    its settings;  --cfg job prints what would run
  eval "$(darkroom -sc install=bash)"          completion with the tab key
"""


def _experiments() -> list[str]:
    """Return every ``experiment=gan/digits``: Hydra's own completion knows no options in subfolders."""
    folder = paths.conf() / "experiment"
    return sorted(f"experiment={file.relative_to(folder).with_suffix('')}" for file in folder.rglob("*.yaml"))


def complete(arguments: list[str]) -> None:
    """Answer the tab key, or print the script that asks.

    Hydra's script calls ``darkroom -sc query=…`` with the line typed so far in ``COMP_LINE``. The command is taken from
    that line; Hydra, which knows no commands, is shown the line without it.
    """
    name = arguments[0] if arguments[0] in COMMANDS else "train"  # for installing, one command is as good as another
    rest = arguments[1:] if arguments[0] in COMMANDS else arguments
    if any(argument.startswith("query=") for argument in rest):
        program, _, line = os.environ.get("COMP_LINE", "").partition(" ")
        name, space, typed = line.lstrip().partition(" ")
        if not space or name not in COMMANDS:
            print(" ".join(command for command in COMMANDS if command.startswith(name)))
            return
        word = typed.rpartition(" ")[2]
        if word and (found := [choice for choice in _experiments() if choice.startswith(word)]) and name == "train":
            print(" ".join(found) if "=" in word else "experiment=")
            return
        os.environ["COMP_LINE"] = f"{program} {typed}"
    sys.argv = ["darkroom", *rest]
    importlib.import_module(f"darkroom.commands.{name}").main()


def _say(text: str) -> None:
    print(text, end="")
    if left := streams.exit_code(0):
        sys.exit(left)


def main() -> None:
    """Run ``darkroom <command> …``."""
    streams.guard()
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _say(usage())
        return
    if arguments[0] == "--version":
        _say(f"{__version__}\n")
        return
    if "-sc" in arguments or "--shell-completion" in arguments:
        complete(arguments)
        return
    name = arguments[0]
    if name not in COMMANDS:
        hint = did_you_mean(name, COMMANDS) or f" (the commands are {', '.join(COMMANDS)})"
        print(f"darkroom: There is no command '{name}'{hint}.", file=sys.stderr)
        sys.exit(2)
    del sys.argv[1]
    # The module name in __main__.__spec__ is what Lightning starts again, once for each further device.
    runpy.run_module(f"darkroom.commands.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
