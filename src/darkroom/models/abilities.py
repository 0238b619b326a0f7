"""What a model can do: what metrics, operations and commands ask for, instead of asking what class it is.

A model has an ability by having its methods; nothing is registered, and nothing inherited. So a family from anybody's
package is trained, scored, drawn from and edited with wherever one of the lab's own is:

    class Flow(Sampler):                       # draws, as every Sampler does
        def log_prob(self, images, labels=None): ...

    isinstance(flow, HasLikelihood)            # True: metrics=exact_likelihood can score it
    needs = HasLikelihood                      # what a metric or an operation says of itself

An ability that is missing here is a Protocol of one's own, ``@runtime_checkable``.

Pictures are float ``(B, C, H, W)`` in [-1, 1] throughout, classes int64 ``(B,)``. Fields are what goes with an ability;
whether a model has it is told by methods alone, since only they can be seen before a model is built.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from darkroom.captions import Vocabulary
    from darkroom.imaging.degradations import Degradation

Ability = TypeVar("Ability", bound=type)
_LACKS: dict[type, str] = {}
Anything = object  # what needs no ability


def _said(lacks: str) -> Callable[[Ability], Ability]:
    """Register how it is said that a model has not an ability, behind "A Gan"."""

    def register(ability: Ability) -> Ability:
        _LACKS[ability] = lacks
        return ability

    return register


def lacks(ability: type) -> str:
    """Return what is said of a model without an ability: ``draws nothing``; one from elsewhere is just named."""
    return _LACKS.get(ability, f"has no {ability.__name__}")


def methods(ability: type) -> frozenset[str]:
    """Return the methods and properties that make an ability, those of the abilities it contains too."""
    return frozenset(
        name
        for kind in ability.__mro__
        if kind is not object and kind.__module__ != "typing"
        for name, value in vars(kind).items()
        if not name.startswith("_") and (callable(value) or isinstance(value, property))
    )


class Located(Protocol):
    """What every model has; no ability."""

    if TYPE_CHECKING:

        @property
        def device(self) -> torch.device:
            """Where it is."""
            ...

        @property
        def averaged(self) -> bool:
            """Whether averaged weights answer; part of the protocol of every score."""
            ...


@_said("draws nothing")
@runtime_checkable
class Draws(Located, Protocol):
    """Draws pictures: image ``i`` of a seed is the same whatever is drawn beside it (`darkroom.models.model.Sampler`).

    ``classes`` is how many can be asked for (0: none); a model that reads captions has a ``vocabulary``, and
    ``prompts`` that it draws when nothing is asked.
    """

    if TYPE_CHECKING:
        image_shape: tuple[int, ...]
        class_names: list[str]
        classes: int
        vocabulary: Vocabulary
        prompts: list[str]

    def sample(self, indices: "Tensor", seed: int, labels: "Tensor | None" = None, truncation: float = 1.0) -> "Tensor":
        """Return the images ``(n, C, H, W)`` of the indices ``(n,)``, of what ``labels`` ask for."""
        ...


class _Conditioned(Draws, Protocol):
    """Draws, and says what is asked of it; what two abilities contain."""

    def conditions(self, indices: "Tensor", labels: "Tensor | None" = None) -> "Tensor | None":
        """Return what is asked of each index, everything in turn where ``labels`` do not say; None: nothing can be."""
        ...


@_said("draws in one way only")
@runtime_checkable
class DrawsVariously(Draws, Protocol):
    """Draws from one of several distributions of latents, of which each can be chosen by name."""

    @property
    def sampler_name(self) -> str:
        """Which of them draws."""
        ...

    def use_sampler(self, name: str) -> None:
        """Draw from another one; a name that is not known is a `UserError`."""
        ...


@_said("encodes nothing")
@runtime_checkable
class Encodes(Located, Protocol):
    """Encodes pictures, and decodes what that gives."""

    if TYPE_CHECKING:
        classes: int

    def encode(self, images: "Tensor", labels: "Tensor | None" = None) -> "Tensor":
        """Return the codes of pictures, without randomness."""
        ...

    def decode(self, codes: "Tensor", labels: "Tensor | None" = None) -> "Tensor":
        """Return the pictures of codes."""
        ...

    def reconstruct(self, images: "Tensor", labels: "Tensor | None" = None) -> "Tensor":
        """Return what is left of pictures after both."""
        ...


@_said("encodes and draws nothing")
@runtime_checkable
class EncodesAndDraws(Encodes, Draws, Protocol):
    """Does both; ``sampler_name`` says where what it draws comes from."""

    @property
    def sampler_name(self) -> str:
        """The distribution of codes; part of the protocol of every score."""
        ...


@_said("has no posterior")
@runtime_checkable
class Infers(Encodes, Protocol):
    """Encodes pictures as Gaussians, so that how probable it finds them can be bounded (Kingma & Welling 2014)."""

    if TYPE_CHECKING:
        code_dim: int

    def posterior(self, images: "Tensor", labels: "Tensor | None" = None) -> "tuple[Tensor, Tensor]":
        """Return the means and log variances ``(B, code_dim)`` of the latents of pictures."""
        ...

    def log_weights(self, images: "Tensor", labels: "Tensor | None", noise: "Tensor") -> "tuple[Tensor, Tensor]":
        """Return ``log p(x|z)`` and ``log q(z|x) - log p(z)``, ``(B, S)`` nats, for ``noise`` ``(B, S, code_dim)``."""
        ...

    def typical(self, count: int) -> "Tensor":
        """Return latents ``(count, code_dim)`` that pictures are drawn from, always the same ones."""
        ...


@_said("has no latents to move in")
@runtime_checkable
class Renders(_Conditioned, Protocol):
    """Makes pictures of latents that one can move in: it can be differentiated from pictures to latents."""

    def latents(self, indices: "Tensor", seed: int) -> "Tensor":
        """Return the latents ``(n, latent_dim)`` that the pictures of these indices are drawn from."""
        ...

    def vectors(self, labels: "Tensor | None") -> "Tensor | None":
        """Return what is asked for as vectors ``(B, D)``, or None."""
        ...

    def rendered(self, latents: "Tensor", vectors: "Tensor | None") -> "Tensor":
        """Return the images of latents under such vectors, differentiably."""
        ...


@_said("does not encode pictures as latents to move in")
@runtime_checkable
class Traverses(Encodes, Renders, Protocol):
    """Encodes pictures as the latents that it renders, so that pictures can be moved in them without a search."""

    if TYPE_CHECKING:
        code_dim: int

    def typical(self, count: int) -> "Tensor":
        """Return latents ``(count, code_dim)`` that pictures are drawn from, always the same ones."""
        ...


@_said("has no discriminator")
@runtime_checkable
class Discriminates(_Conditioned, Protocol):
    """Tells real pictures from those that it draws."""

    def realness(self, images: "Tensor", asked: "Tensor | None") -> "Tensor":
        """Return logits ``(B,)``, larger for what it takes for real, of pictures under what is asked for."""
        ...


@_said("completes nothing")
@runtime_checkable
class Completes(Located, Protocol):
    """Draws what is hidden of a picture, given the rest; with 2 ``levels`` it knows black and white alone."""

    if TYPE_CHECKING:
        image_shape: tuple[int, ...]
        levels: int
        class_names: list[str]
        classes: int

    def complete(self, images: "Tensor", known: "Tensor", seed: int = 0, labels: "Tensor | None" = None) -> "Tensor":
        """Return pictures whose pixels are kept where ``known``, bool ``(H, W)``."""
        ...


@_said("has no exact likelihood")
@runtime_checkable
class HasLikelihood(Located, Protocol):
    """Says how probable a picture is, exactly."""

    if TYPE_CHECKING:
        classes: int
        levels: int

    def log_prob(self, images: "Tensor", labels: "Tensor | None" = None) -> "Tensor":
        """Return nats ``(B,)``."""
        ...


@_said("names nothing")
@runtime_checkable
class Classifies(Located, Protocol):
    """Names what pictures show."""

    if TYPE_CHECKING:
        image_shape: tuple[int, ...]
        class_names: list[str]

    def predict(self, images: "Tensor") -> "Tensor":
        """Return logits ``(B, K)``."""
        ...


@_said("has fitted no temperature")
@runtime_checkable
class Calibrated(Classifies, Protocol):
    """Names with shares that are meant to be right as often as they say (Guo et al. 2017)."""

    def calibration(self) -> float:
        """Return the temperature that logits have been divided by."""
        ...


@_said("restores nothing")
@runtime_checkable
class Restores(Located, Protocol):
    """Returns whole pictures for what its ``degradation`` has damaged."""

    if TYPE_CHECKING:
        degradation: Degradation

    def restore(self, damaged: "Tensor", labels: "Tensor | None" = None) -> "Tensor":
        """Return whole pictures for damaged ones."""
        ...


@_said("has learnt no repair of pictures of any size")
@runtime_checkable
class Repairs(Restores, Protocol):
    """Restores pictures of any size, in tiles where they are large; ``operation`` says what that undoes.

    It is told where to repair if it is ``masked``, and how strong noise is if ``leveled``. What it makes is ``scale``
    times as large; sides are to be of a ``multiple``, and ``reach`` pixels around a place decide what becomes of it
    (None: all of them). One that ``decides`` by all of a picture what to do to its parts is shown it small beforehand.
    """

    if TYPE_CHECKING:
        image_shape: tuple[int, ...]
        scale: int
        multiple: int
        reach: int | None
        leveled: bool
        masked: bool
        decides: bool

        def restore(
            self,
            damaged: Tensor,
            labels: Tensor | None = None,
            mask: Tensor | None = None,
            level: Tensor | float | None = None,
            settings: Tensor | None = None,
        ) -> Tensor:
            """Return whole pictures; outside the mask they come back as they are."""
            ...

    @property
    def operation(self) -> str:
        """What is done to damaged pictures, as it is typed: denoise."""
        ...


@_said("decides nothing by all of a picture")
@runtime_checkable
class Decides(Repairs, Protocol):
    """Repairs parts of a picture as is decided by all of it."""

    def look(self, damaged: "Tensor") -> "Tensor":
        """Return what is decided by all of damaged pictures, ``(B, settings)``."""
        ...


@_said("forecasts nothing")
@runtime_checkable
class Forecasts(Located, Protocol):
    """Continues sequences from their first ``inputs`` frames.

    One that is told of ``actions`` knows their names, each with its largest size in training; one with several futures
    has so many ``latents``, numbers a step that choose among them.
    """

    if TYPE_CHECKING:
        image_shape: tuple[int, ...]
        inputs: int
        latents: int
        actions: Mapping[str, float]

    def forecast(
        self, frames: "Tensor", steps: int, actions: "Tensor | None" = None, noise: "Tensor | None" = None
    ) -> "Tensor":
        """Return the frames ``(B, steps, C, H, W)`` that follow those given, ``(B, T, C, H, W)``."""
        ...

    def noise(self, indices: "Tensor", steps: int, seed: int) -> "Tensor":
        """Return the numbers that choose one future of sequences with these indices."""
        ...


@_said("gives no style")
@runtime_checkable
class Stylises(Located, Protocol):
    """Gives pictures a style: its own ``style`` ``(C, h, w)`` or, where its class has ``any_style``, any picture's."""

    if TYPE_CHECKING:
        image_shape: tuple[int, ...]
        any_style: bool

        @property
        def style(self) -> Tensor | None:
            """The one style that it has; None when it takes any."""
            ...

    def stylise(
        self,
        images: "Tensor",
        styles: "Tensor | Sequence[Tensor] | None" = None,
        alpha: float = 1.0,
        weights: Sequence[float] | None = None,
    ) -> "Tensor":
        """Return pictures, each in its style of ``styles`` ``(B, C, h, w)``, or in a mixture of them by ``weights``."""
        ...


@_said("translates nothing")
@runtime_checkable
class Translates(Located, Protocol):
    """Turns pictures of one kind into another."""

    if TYPE_CHECKING:
        image_shape: tuple[int, ...]

    def translate(self, images: "Tensor", direction: Any = "a_to_b") -> "Tensor":
        """Return the pictures as ones of the other kind; ``b_to_a``: the other way."""
        ...
