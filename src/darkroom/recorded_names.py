"""What runs have recorded parts by, when they are called or made otherwise now.

    now("darkroom.editing.degradations.Noise")    # darkroom.imaging.degradations.Noise
    first("darkroom.imaging.degradations.Noise")  # darkroom.editing.degradations.Noise

A configuration or a parameter that was read goes through `now`. What configurations are compared by goes through
`first`, so that a class is the same one wherever it has moved to.
"""

import re
from typing import Any

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


# What was one metric, and is three by name that share its settings.
_AUTOENCODING = "darkroom.metrics.autoencoding.Autoencoding"
_PARTS = {
    "drawn": {"_target_": "darkroom.metrics.generative.Generative"},
    "reconstructed": {"_target_": "darkroom.metrics.autoencoding.Reconstructed"},
    "coded": {"_target_": "darkroom.metrics.autoencoding.Likelihood"},
}
_LEADING = {"objective": "drawn"}


def metrics_now(node: dict[str, Any]) -> dict[str, Any]:
    """Return recorded metrics as they are configured now."""
    if node.get("_target_") != _AUTOENCODING:
        return node
    parts = {name: dict(part) for name, part in _PARTS.items()}
    return {**_LEADING, **parts, **{key: value for key, value in node.items() if key != "_target_"}}


def metrics_first(node: dict[str, Any]) -> dict[str, Any]:
    """Return metrics as they were recorded first."""
    known = {**_LEADING, **_PARTS}
    if any(node.get(key) != value for key, value in known.items()):
        return node
    return {"_target_": _AUTOENCODING, **{key: value for key, value in node.items() if key not in known}}
