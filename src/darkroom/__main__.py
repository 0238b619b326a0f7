"""Find the command, then get out of the way."""

import runpy
import sys

from darkroom import __version__
from darkroom.errors import did_you_mean

COMMANDS = {
    "train": "train a model, score it on the test split, leave a run",
    "evaluate": "score a run, or pictures that others made",
    "generate": "draw pictures with a trained run",
    "compare": "put runs side by side: settings, numbers, pictures",
    "reproduce": "make a run again and say whether it came out the same",
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
  darkroom <command> --help                    its settings;  --cfg job prints what would run
"""


def main() -> None:
    """Run ``darkroom <command> …``."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return
    if arguments[0] == "--version":
        print(__version__)
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
