"""Print the oldest versions that pyproject.toml allows, one requirement a line: python .ci/oldest.py > oldest.txt."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def oldest(line: str) -> str:
    """Return ``torch==2.6.*`` for ``torch>=2.6,<3``: of 2.6 there may be no release without a third number.

    Raises:
        ValueError: the requirement has no lower bound, so that nothing says what is supported.
    """
    requirement = Requirement(line)
    (bound,) = [found.version for found in requirement.specifier if found.operator in (">=", "==")]
    series = bound if bound.count(".") > 1 else f"{bound}.*"
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    return f"{requirement.name}{extras}=={series}{marker}"


def lines() -> list[str]:
    """Return the project's own requirements at their oldest, and what tests and the build need as they are."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [
        *map(oldest, project["project"]["dependencies"]),
        *project["dependency-groups"]["dev"],
        *project["build-system"]["requires"],
    ]


if __name__ == "__main__":
    print("\n".join(lines()))
