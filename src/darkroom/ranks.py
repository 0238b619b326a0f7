"""Which of several processes this one is told to be, and whether anybody started the others.

Lightning reads that from the environment. A variable left over from something else makes a process believe that it is
not the first: it would train to the end, record nothing and report success.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from darkroom.errors import UserError

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # in the order in which Lightning reads them
NODES = ("NODE_RANK", "GROUP_RANK")
_SET_BY_LIGHTNING = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_STARTER = "DARKROOM_STARTER"  # the process that starts one for each further device
_LSF = ("LSB_JOBID", "LSB_DJOB_RANKFILE", "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_SIZE")


def check(several: bool = False, nodes: int = 1) -> None:
    """Refuse to be one of several processes that nobody started.

    ``several`` says whether this process would start others, one for each further device; ``nodes`` is how many
    machines train together, each started by hand.

    Raises:
        UserError: it names the variable that says so.
    """
    environment = os.environ
    if environment.get(_STARTER) == str(os.getppid()):
        return
    starters = _starters(environment)
    if "torchrun" in starters or "Ray" in starters:  # these set every variable
        return
    own = {"SLURM": "SLURM_PROCID", "jsrun": "JSM_NAMESPACE_RANK"}
    given = [own[starter] for starter in starters]
    agreed = {environment[variable] for variable in given}
    local = environment.get("SLURM_LOCALID") if "SLURM" in starters else None
    for variable in RANKS:
        value = environment.get(variable)
        if value is None or value == "0" or variable in given or value in agreed:
            continue
        if variable == "LOCAL_RANK" and value == local:
            continue
        raise _leftover(variable, f"says that this is process {value!r} of several")
    if several and not starters and "LOCAL_RANK" in environment:
        raise _leftover("LOCAL_RANK", "says that somebody else starts a process for each device")
    for variable in NODES:
        if nodes == 1 and not starters and environment.get(variable, "0") != "0":
            raise _leftover(variable, f"says that this is machine {environment[variable]!r} of several")


def _starters(environment: Mapping[str, str]) -> list[str]:
    """Return what started this process as one of several, as far as the environment agrees with itself."""
    found = []
    if "DARKROOM_ON_RAY" in environment:
        found.append("Ray")
    if "TORCHELASTIC_RUN_ID" in environment and _below("RANK", "WORLD_SIZE", environment):
        found.append("torchrun")
    interactive = environment.get("SLURM_JOB_NAME") in ("bash", "interactive")
    if not interactive and _below("SLURM_PROCID", "SLURM_NTASKS", environment):
        found.append("SLURM")
    if all(name in environment for name in _LSF) and _below("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE", environment):
        found.append("jsrun")
    return found


def _below(rank: str, size: str, environment: Mapping[str, str]) -> bool:
    values = environment.get(rank, ""), environment.get(size, "")
    return all(value.isdecimal() for value in values) and int(values[0]) < int(values[1])


def _leftover(variable: str, claim: str) -> UserError:
    others = [name for name in (*RANKS, *NODES, "WORLD_SIZE") if name in os.environ and name != variable]
    return UserError(
        f"The environment variable {variable}={os.environ[variable]} {claim}, and nobody started the others: type unset"
        f" {' '.join([variable, *others])}, or start them all with torchrun (trainer=torchrun)."
    )


@contextmanager
def starting() -> Iterator[None]:
    """For a block that may start further processes, let them know who did; afterwards the environment is as before."""
    before = {name: os.environ.get(name) for name in (_STARTER, *_SET_BY_LIGHTNING)}
    os.environ[_STARTER] = str(os.getpid())
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
