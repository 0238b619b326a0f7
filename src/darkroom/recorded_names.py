"""What runs have recorded a class by, when its module has another name now.

    now("darkroom.editing.degradations.Noise")    # darkroom.imaging.degradations.Noise
    first("darkroom.imaging.degradations.Noise")  # darkroom.editing.degradations.Noise

A configuration or a parameter that was read goes through `now`. What configurations are compared by goes through
`first`, so that a class is the same one wherever it has moved to.
"""

import re

_MODULES = {  # by the name that was recorded first
    "darkroom.editing.degradations": "darkroom.imaging.degradations",
    "darkroom.metrics.health": "darkroom.callbacks.health",
}
_CLASSES = {"darkroom.scaling.on_ray.trainer": "darkroom.scaling.ray_trainer.RayTrainer"}
_FIRST = {module: recorded for recorded, module in _MODULES.items()}


def _pattern(modules: dict[str, str]) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, modules))})(?=\.\w)")


_RECORDED, _CURRENT = _pattern(_MODULES), _pattern(_FIRST)


def now(text: str) -> str:
    """Return a name that was recorded, or a text in which some stand, with the names that classes have now."""
    return _CLASSES.get(text) or _RECORDED.sub(lambda found: _MODULES[found[1]], text)


def first(text: str) -> str:
    """Return a name, or a text in which some stand, with the names that classes were recorded by first."""
    return _CURRENT.sub(lambda found: _FIRST[found[1]], text)
