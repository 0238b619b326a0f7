"""What a generator is asked for, in the words that a person types, and the pictures that answer."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from darkroom.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    from darkroom.captions import Vocabulary
    from darkroom.models.abilities import Draws

AT_ONCE = 256  # pictures in memory at a time
SHOWN = 40  # words of a vocabulary named in a message
Conditions = list[int] | list[str] | None  # classes, in turn, or captions, each ``count`` times


def parse_conditions(model: "Draws", labels: Any, prompt: Any) -> Conditions:
    """Return what ``labels=`` or ``prompt=`` asks a model for; None when nothing was asked.

    Raises:
        UserError: both were given, or what this model cannot be asked for.
    """
    if labels is not None and prompt is not None:
        raise UserError("labels and prompt were both given: a model is asked for classes or in words, so keep one.")
    if labels is not None and model.vocabulary:
        raise UserError(f"labels={labels} asks for classes, but this model is asked in words: type prompt=.")
    prompts = parse_prompts(prompt, model.vocabulary)
    return prompts if prompts is not None else parse_labels(labels, model.class_names if model.classes else [])


def choose_sampler(model: Any, name: str | None) -> None:
    """Let a model draw from another distribution of latents than the one that was best on val.

    Raises:
        UserError: the model has no such sampler, or no choice of them.
    """
    if name is None:
        return
    from darkroom.models.abilities import DrawsVariously

    if not isinstance(model, DrawsVariously):
        raise UserError(
            f"sampler={name} was given, but a {type(model).__name__} draws in one way only: leave sampler out."
        )
    model.use_sampler(name)


def parse_prompts(given: Any, vocabulary: "Vocabulary") -> list[str] | None:
    """Return the captions that ``prompt="a red ring"`` or a list of such asks for; None when nothing was asked.

    Raises:
        UserError: an empty prompt, a word that the model has never seen, or a model that reads no words.
    """
    if given is None:
        return None
    from darkroom.captions import words_of

    if not vocabulary:
        raise UserError(f"prompt={given} was given, but this model does not read: name a run with conditioning=text.")
    prompts = [str(part).strip() for part in (given if isinstance(given, list) else [given])]
    if not prompts or not all(words_of(prompt) for prompt in prompts):
        raise UserError(f'prompt={given} says nothing: type prompt="a caption", or leave it out for captions in turn.')
    for prompt in prompts:
        if unknown := vocabulary.unknown(prompt):
            named = ", ".join(f"'{word}'{did_you_mean(word, vocabulary.words)}" for word in unknown)
            known = ", ".join(vocabulary.words[:SHOWN]) + (", …" if len(vocabulary) > SHOWN else "")
            raise UserError(f"prompt={prompt}: the model has never seen {named}; the words it knows are {known}.")
    return prompts


def parse_labels(given: Any, class_names: list[str]) -> list[int] | None:
    """Return the classes that ``0-9``, ``3``, ``[1,4,7]`` or names ask for; None when nothing was asked.

    Raises:
        UserError: an unknown class, or a model without classes.
    """
    if given is None:
        return None
    if not class_names:
        raise UserError(f"labels={given} was given, but this model is not conditional: leave labels out.")
    chosen: list[int] = []
    for part in given if isinstance(given, list) else str(given).split(","):
        word = str(part).strip()
        if word in class_names:
            asked = [class_names.index(word)]
        elif found := re.fullmatch(r"(\d+)\s*-\s*(\d+)", word):
            asked = list(range(int(found.group(1)), int(found.group(2)) + 1))
        else:
            asked = [int(word)] if word.isdecimal() else []
        if not asked or asked[-1] >= len(class_names):
            known = ", ".join(
                f"{index} {name}" if name != str(index) else name for index, name in enumerate(class_names)
            )
            hint = did_you_mean(word, class_names)
            raise UserError(f"labels={given}: there is no class '{word}'{hint}; known: {known}.")
        chosen += asked
    if not chosen:
        raise UserError("labels=[] asks for no class: leave labels out for all in turn.")
    return chosen


def expand_conditions(
    model: "Draws", count: int, asked: Conditions
) -> tuple[Sequence[int], Sequence[int] | Sequence[str] | None]:
    """Return of every picture the index of its latents, and the class or caption that is asked for.

    Picture i of every caption begins with the same latents.
    """
    if model.vocabulary:
        if asked is None:
            return range(count), [model.prompts[index % len(model.prompts)] for index in range(count)]
        prompts = [str(caption) for caption in asked for _ in range(count)]
        return [number % count for number in range(len(prompts))], prompts
    if not model.classes:
        return range(count), None
    classes = [int(label) for label in asked] if asked is not None else list(range(model.classes))
    return range(count), [classes[index % len(classes)] for index in range(count)]


def sample_batches(
    model: "Draws", count: int, seed: int, asked: Conditions, truncation: float
) -> Iterator[tuple[int, "Tensor", Sequence[int] | Sequence[str] | None]]:
    """Yield ``(first index, images in [-1, 1], what was asked)`` in parts of constant size."""
    import torch

    latents, wishes = expand_conditions(model, count, asked)
    for first in range(0, len(latents), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        wanted = wishes[part] if wishes is not None else None
        labels = None
        if wanted is not None:
            captions = [str(caption) for caption in wanted]
            labels = model.vocabulary.tokens(captions) if model.vocabulary else torch.tensor(wanted)
        yield first, model.sample(torch.tensor(latents[part]), seed, labels, truncation), wanted
