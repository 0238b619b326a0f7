"""What a person typed after ``darkroom``: read before Hydra sees it, and asked for once a command runs."""

import shlex
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.types import RunMode

from darkroom import documents, line, paths
from darkroom.config import overrides
from darkroom.config.groups import GROUPS, options
from darkroom.config.schema import SCHEMAS
from darkroom.errors import UserError, did_you_mean, nearest


@dataclass(frozen=True)
class Typed:
    """What stood on the line after ``darkroom``: a command, its overrides, and a folder of further configurations."""

    command: str
    overrides: list[str] = field(default_factory=list)
    folder: Path | None = None
    grid: bool = False
    options: tuple[str, ...] = ()  # Hydra's own

    @classmethod
    def parse(cls, command: str, arguments: list[str]) -> "Typed":
        """Read the arguments as Hydra will.

        Raises:
            UserError: an option that Hydra does not have.
        """
        parser = get_args_parser()
        known = [option for action in parser._actions for option in action.option_strings]
        _refuse_dashes(command, arguments, known)

        def refuse(message: str) -> None:
            word = next((word for word in message.split() if word.startswith("-")), "")
            hint = did_you_mean(word, known) if "unrecognized" in message else ""
            raise UserError(f"{message[:1].upper()}{message[1:]}{hint}. Try: darkroom {command} --hydra-help")

        parser.error = refuse  # type: ignore[assignment,method-assign]  # argparse would print its usage and exit
        parsed = parser.parse_intermixed_args(arguments)
        for override in parsed.overrides:
            _check_size(override)
        folder = Path(parsed.config_dir) if parsed.config_dir else None
        grid = parsed.multirun and not parsed.cfg and not parsed.info
        options = tuple(argument for argument in arguments if argument not in parsed.overrides)
        return cls(command, parsed.overrides, folder, grid, options)

    def read(self) -> "Typed":
        """Return it with every value as Hydra has to be told it."""
        folder = self.folder if self.folder and self.folder.is_dir() else None
        return replace(self, overrides=overrides.read(self.command, self.overrides, folder, self.grid))

    def spelt_out(self) -> "Typed":
        """Return the line with each ``group=glob(…)`` as the files it means, those in subfolders too.

        Hydra's own looks into no subfolder, where every experiment is, and trains nothing when it finds nothing.

        Raises:
            UserError: no file is meant.
        """
        parsed = OverridesParser.create().parse_overrides(self.overrides)
        return replace(self, overrides=[self._without_glob(override) for override in parsed])

    def _without_glob(self, override: Override) -> str:
        written = override.input_line or ""
        pattern: Any = override.value()
        if not isinstance(pattern, Glob):
            return written
        key, _, meant = written.partition("=")
        known = options(override.key_or_group, self.folders())
        if not known:
            raise UserError(f"{written} chooses among files, and '{override.key_or_group}' is no group of them: type"
                            f" {key}=<value>,<value>.")  # fmt: skip
        if not (found := pattern.filter(known)):
            raise UserError(f"{written} fits none of {override.key_or_group}: the nearest are {nearest(meant, known)}.")
        return f"{key}={','.join(found)}"

    def arguments(self) -> list[str]:
        """Return what Hydra is given, options first: it refuses ``model=gan -m seed=0,1``."""
        return [*self.options, *self.overrides]

    def folders(self) -> list[Path]:
        """Return the configuration folders, a person's own first."""
        return [*([self.folder] if self.folder else []), paths.conf()]


_LONGEST, _PARTS = 50_000, 2000  # characters and commas of one setting that is typed


def _check_size(override: str) -> None:
    """Refuse what was typed before Hydra's parser, which calls itself for each bracket, sees it."""
    if len(override) > _LONGEST:
        raise UserError(f"'{override[:40]}…' has {len(override)} characters, and at most {_LONGEST} are read.")
    if (parts := override.count(",")) > _PARTS:
        raise UserError(f"'{override[:40]}…' lists {parts} values, and at most {_PARTS} are read.")
    depth = deepest = 0
    for character in override:
        depth += (character in "[{(") - (character in "]})")
        deepest = max(deepest, depth)
    if deepest > documents.DEPTH:
        raise UserError(
            f"'{override[:40]}…' holds brackets more than {documents.DEPTH} deep in each other: write fewer."
        )


def _refuse_dashes(command: str, arguments: list[str], options: list[str]) -> None:
    """Refuse settings that are typed as options, ``--seed=3`` or ``-seed 3``: argparse takes some for others.

    Raises:
        UserError: what to type instead.
    """
    own = {each.name for each in fields(SCHEMAS[command])}
    settings = own | {*GROUPS, "local"}
    after = set()  # the values of Hydra's own options, --config-dir my_conf
    for place, argument in enumerate(arguments):
        name, equals, value = argument.lstrip("-").partition("=")
        name = name.replace("-", "_")
        if not argument.startswith("-") or place in after:
            continue
        if argument.partition("=")[0] in options and name not in own:
            after.add(place + 1)
            continue
        top = name.partition(".")[0].partition("@")[0]
        if top in settings or (equals and argument.startswith("--") and not did_you_mean(f"--{name}", options)):
            following = arguments[place + 1 : place + 2]
            given = value if equals else next((word for word in following if not word.startswith("-")), "<value>")
            meant = f"{name}={given}" if given == "<value>" else shlex.quote(f"{name}={given}")
            raise UserError(f"'{argument}' is typed without dashes: type {meant}.")


def in_grid() -> bool:
    """Say whether this process runs one point of a grid (``-m``)."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def task_overrides() -> list[str]:
    """Return what was typed after the command, for this point of the grid."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def typed_line() -> list[str]:
    """Return what was typed after the command with the folder of one's own configurations, so as to type it again."""
    folder = typed_folder()
    return [*([f"--config-dir={folder}"] if folder else []), *map(line.unquoted, task_overrides())]


def typed_keys() -> set[str]:
    """Return the settings and groups that were typed, ``{"budget.images", "trainer"}``."""
    return {override.lstrip("+~").partition("=")[0].partition("@")[0] for override in task_overrides()}


def typed_folder() -> str | None:
    """Return the folder of further configurations that was typed, ``--config-dir``."""
    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    return next((str(source.path) for source in sources if source.provider == "command-line"), None)


def group_choice(group: str) -> str | None:
    """Return which file of a group was chosen, ``gan/digits`` for ``experiment=gan/digits``."""
    return HydraConfig.get().runtime.choices.get(group) if HydraConfig.initialized() else None
