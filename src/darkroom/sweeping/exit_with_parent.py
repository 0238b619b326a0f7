"""Become a command that gets SIGTERM when the process that started it is gone, even by SIGKILL.

    python -m darkroom.sweeping.exit_with_parent <process id of the starter> <command> <argument> …

Between fork and exec nothing of this could be done safely in a process with threads; between two execs it can.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie the knot and run the command in this process's place."""
    starter, *command = sys.argv[1:]
    if sys.platform == "linux":  # elsewhere what is left over is waited for by the next sweep: see launching.alive
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(starter):  # it was gone before the knot was tied
            sys.exit(128 + signal.SIGTERM)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
