"""From a checked node to the object that it describes."""

import re
from collections.abc import Mapping
from typing import Any

import hydra
from hydra.errors import InstantiationException

from darkroom.errors import UserError, cause


def build(node: Mapping[str, Any], **supplied: Any) -> Any:
    """Build the object a ``_target_`` node describes; ``supplied`` are the parts that code passes.

    The only caller of Hydra's ``instantiate``. The parts are passed beside Hydra, which would copy them.
    """
    try:
        part = hydra.utils.instantiate({**_coerced(node), "_partial_": True}, _convert_="all")
    except InstantiationException as error:
        if sentence := cause(error, UserError):
            raise sentence from None
        raise
    return part(**supplied)


def located(target: str) -> Any:
    """Return the class that a ``_target_`` names."""
    return hydra.utils.get_class(target)


def _coerced(node: Any) -> Any:
    """Return the node as Hydra has to be given it, every value in it meant as it stands.

    ``betas`` become floats: YAML reads ``[0, 0.99]`` as an int, which PyTorch's Adam refuses. A ``${`` that is still
    there in a resolved configuration is part of a text, and would be looked up again.
    """
    if isinstance(node, Mapping):
        return {
            key: [float(beta) for beta in value] if key == "betas" and isinstance(value, list) else _coerced(value)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_coerced(each) for each in node]
    # Hydra resolves everything in place and then reads it, so that what is escaped is unescaped twice.
    return _escaped(_escaped(node)) if isinstance(node, str) else node


def _escaped(text: str) -> str:
    return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + "\\${", text)
