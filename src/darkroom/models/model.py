"""What every family of models shares, and what a new one must bring.

A model is a LightningModule built from parts and numbers. To be

- **trained**, it implements ``training_step(batch, batch_idx) -> {"loss": …, "<curve>": …}`` and
  ``configure_optimizers``; the batch is ``{"images": (B, C, H, W) in [-1, 1], "labels": (B,)}``, and, for a model
  with a ``vocabulary``, ``"captions": (B, L)``, the numbers of words;
- **scored**, **edited with** and **drawn from**, it has some of the abilities in `darkroom.models.abilities`, which
  metrics, operations and commands ask for; a `Sampler` has that of drawing, once it implements
  ``draw(latents, labels)``;
- **concluded** after training, where anything is left to fit then, it implements ``conclude(splits, judged)``, and
  ``ready(splits)`` where scores while training need it too;
- **explained**, it implements ``explainable()``.

Time is counted in real images consumed, ``images_seen``, and in ``fraction``, the share of the budget that is spent.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from darkroom.captions import Vocabulary
from darkroom.models.explainable import Explainable
from darkroom.models.schedule import Schedule

LINE = 16  # captions are drawn from as lines of this many words, or a multiple


class Shown(Protocol):
    """The training pictures, by index."""

    @property
    def labels(self) -> Tensor | None:
        """Class indices, int64 ``(N,)``."""
        ...

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Tensor:
        """Return the pictures at these indices, uint8 ``(b, C, H, W)``."""
        ...


@runtime_checkable
class Moving(Protocol):
    """What training pictures have that are clips: their batches are ``(b, frames, C, H, W)``."""

    frames: int


class Splits(Protocol):
    """All pictures, by split."""

    def batches(self, split: str, size: int, count: int | None = None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield a split's pictures once, in order, or the first ``count``, float in [-1, 1], with their labels."""
        ...


class Model(pl.LightningModule):
    """A model that counts the real images it has seen and whose every step is a function of seed and count.

    Before each step the random state is set from ``(seed, images_seen)``, so that an evaluation between two steps
    changes nothing, and a run that continues from a checkpoint draws what the uninterrupted one would have drawn.
    """

    def __init__(self, image_shape: Sequence[int], class_names: Sequence[str], schedule: Schedule) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.class_names = list(class_names)
        self.schedule = schedule
        self.seed = 0
        self.images_seen = 0
        self.fraction = 0.0
        self._settings: list[list[dict[str, Any]]] = []

    @property
    def averaged(self) -> bool:
        """Whether averaged weights answer; part of the protocol of every score."""
        return False

    def check_batch(self, size: int) -> None:
        """Refuse a size of batches that this model cannot learn from, before it is trained.

        Raises:
            UserError: that is so.
        """

    def init_from_data(self, shown: Shown) -> None:
        """Take from the training pictures what weights or losses start from; comes before any state is loaded."""

    def ready(self, splits: Splits) -> None:
        """Fit what answers rest on beside the weights; called before each score while training.

        Without random numbers: the same state is made ready in the same way.
        """

    def conclude(self, splits: Splits, judged: Callable[[], Mapping[str, float]] | None = None) -> dict[str, float]:
        """Fit on ``val`` what can only be fitted once the weights are final; return it and what it changed, by name.

        Called once, on the best state, in evaluation mode, before the test split is read; ``judged()`` returns its
        scores on val as it is then. Without random numbers: the same state is concluded in the same way.
        """
        return {}

    def of_this_process(self, draw: Callable[..., Tensor], count: int, *shape: int) -> Tensor:
        """Return this process's part of the random numbers of the whole batch, so that processes together equal one."""
        everyone = draw(count * self.trainer.world_size, *shape)
        return everyone[self.global_rank * count : (self.global_rank + 1) * count]

    def migrate(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the state of an older checkpoint with what this family has gained since, at the value of no effect."""
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load a state, an older one as well."""
        return super().load_state_dict(self.migrate(state_dict), strict=strict, assign=assign)

    def explainable(self) -> list[Explainable]:
        """Return what the model says of a picture and can trace back to its pixels; nothing, unless a family says so.

        It shares the model's weights: whoever takes it apart makes a copy (`Explainable.ready`).
        """
        return []

    def dummy_loss(self, images: Tensor) -> Tensor | None:
        """Return a number whose computation and differentiation cost about what a step does; change nothing.

        ``images`` are a batch in [-1, 1]. None when the family cannot say.
        """
        return None

    def on_train_start(self) -> None:
        """Set the random state for the first step, and let what is configured win over what a checkpoint restored."""
        for optimizer, settings in zip(self._optimizers(), self._settings, strict=True):
            for group, configured in zip(optimizer.param_groups, settings, strict=True):
                group.update(configured)
        self._seed_step()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Move every learning rate to where the schedule is."""
        factor = self.schedule(self.fraction)
        for optimizer in self._optimizers():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Set the random state for the next step, after every callback has had its turn with the old one."""
        self._seed_step()

    def count(self, batch: dict[str, Tensor]) -> None:
        """Count the images of one batch, those of the other processes included."""
        self.images_seen += len(batch["images"]) * self.trainer.world_size

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the count."""
        checkpoint["images_seen"] = self.images_seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the count up again."""
        self.images_seen = int(checkpoint["images_seen"])

    def scheduled(self, optimizer: Optimizer) -> Optimizer:
        """Return a new optimizer with its settings remembered: learning rates to scale, the rest to hold on to."""
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        settings = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        self._settings.append(settings)
        return optimizer

    def _optimizers(self) -> list[Optimizer]:
        found = self.optimizers(use_pl_optimizer=False)
        return list(found) if isinstance(found, list) else [found]

    def _seed_step(self) -> None:
        sequence = np.random.SeedSequence([self.seed, self.images_seen])
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]) >> 1)


class Sampler(Model):
    """A model that draws pictures: image ``i`` of seed ``s`` is the same whatever is drawn beside it.

    Latents are a function of ``(seed, index)`` alone, and images are drawn in fixed blocks of 64 aligned to the index,
    because the rounding of a matrix product depends on its shape.
    """

    block = 64

    def __init__(
        self,
        image_shape: Sequence[int],
        class_names: Sequence[str],
        schedule: Schedule,
        latent_dim: int,
        classes: int,
        vocabulary: Sequence[str] = (),
        prompts: Sequence[str] = (),
    ) -> None:
        """State what can be asked for: one of so many ``classes``, or captions of the words of a ``vocabulary``.

        ``prompts`` are captions to draw when none is given.
        """
        super().__init__(image_shape, class_names, schedule)
        self.latent_dim = latent_dim
        self.classes = classes
        self.vocabulary = Vocabulary(vocabulary)
        self.prompts = list(prompts)

    @abstractmethod
    def draw(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return images ``(B, C, H, W)`` in [-1, 1] for latents ``(B, latent_dim)`` and what is asked for, or None."""

    def latents(self, indices: Tensor, seed: int) -> Tensor:
        """Return the standard normal latents of the given image indices, ``(n, latent_dim)`` float32."""
        return standard_normal(indices, seed, (self.latent_dim,))

    def truncated(self, latents: Tensor, truncation: float) -> Tensor:
        """Return latents moved toward the most typical."""
        return latents * truncation

    @torch.no_grad()
    def sample(self, indices: Tensor, seed: int, labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """Return the images of the given indices, ``(n, C, H, W)`` float32 in [-1, 1].

        ``labels`` are what is asked for: classes ``(n,)``, or the numbers of the words of captions ``(n, L)``. Without
        them a conditional model draws class ``index % classes``, or prompt ``index % len(prompts)``. ``truncation``
        scales the latents: below 1 the pictures are more typical and less varied.
        """
        asked = self.conditions(indices, labels)
        images = torch.empty(len(indices), *self.image_shape, device=self.device)
        for block in torch.unique(indices // self.block).tolist():
            chosen = (indices // self.block == block).nonzero().squeeze(1)
            # Two wanted images of one index differ in their label, and need a block each.
            for turn in _turns(indices[chosen]):
                rows = indices[chosen[turn]] % self.block
                latents = torch.zeros(self.block, self.latent_dim)
                latents[rows] = self.truncated(self.latents(indices[chosen[turn]], seed), truncation)
                given = None
                if asked is not None:
                    given = torch.zeros(self.block, *asked.shape[1:], dtype=torch.int64)
                    given[rows] = asked[chosen[turn]].cpu()
                    given = given.to(self.device)
                images[chosen[turn]] = self.draw(latents.to(self.device), given)[rows].float()
        return images

    def conditions(self, indices: Tensor, labels: Tensor | None = None) -> Tensor | None:
        """Return what is asked of each index, ``(n,)`` or ``(n, L)``: ``labels`` or, without them, everything in turn.

        None from a model that cannot be asked.
        """
        if self.classes:
            return indices % self.classes if labels is None else labels
        if not self.vocabulary:
            return None
        if labels is None:
            labels = self.vocabulary.tokens(self.prompts)[indices % len(self.prompts)]
        # The rounding of a matrix product depends on its shape: short captions are read like those beside them.
        return F.pad(labels, (0, -labels.shape[1] % LINE))


def standard_normal(indices: Tensor, seed: int, shape: Sequence[int], stream: int = 0) -> Tensor:
    """Return standard normal numbers ``(n, *shape)``, float32, each row a function of (seed, stream, index) alone."""
    drawn = [
        np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, stream, int(index)])).standard_normal(
            tuple(shape), dtype=np.float32
        )
        for index in indices
    ]
    return torch.from_numpy(np.stack(drawn))


def _turns(indices: Tensor) -> list[Tensor]:
    """Return the positions of ``indices`` in groups within which no index repeats."""
    seen: dict[int, int] = {}
    groups: list[list[int]] = []
    for position, index in enumerate(indices.tolist()):
        turn = seen.get(index, 0)
        seen[index] = turn + 1
        if turn == len(groups):
            groups.append([])
        groups[turn].append(position)
    return [torch.tensor(group) for group in groups]
