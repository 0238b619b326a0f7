"""From one kind of pictures to another and back, learnt from two heaps without pairs."""

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from darkroom.errors import UserError
from darkroom.losses.adversarial import LOSSES
from darkroom.losses.penalties import Penalty
from darkroom.models.adversary import frozen
from darkroom.models.averaged import Averaged
from darkroom.models.schedule import Schedule
from darkroom.numbers import NotNegative, Positive, Supplied, Whole

Direction = Literal["a_to_b", "b_to_a"]
DIRECTIONS: tuple[Direction, ...] = ("a_to_b", "b_to_a")


class CycleGan(Averaged):
    """Two generators, one for each way, and a discriminator for each kind of pictures (Zhu et al. 2017).

    A picture that goes there and back again is to be itself (``cycle_weight``), and one that is already of the kind
    wanted is to stay (``identity_weight``, a share of that). Discriminators are shown former results too, of a pool of
    ``history`` (Shrivastava et al. 2017). Pictures of label 0 are a, of label 1 b: `data=two_folders`.

    All networks take their step at once, from one backward pass: what the generators learn passes through
    discriminators that do not learn from it.
    """

    pool: Tensor
    pooled: Tensor

    def __init__(
        self,
        generator: Callable[..., nn.Module],
        discriminator: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        schedule: Schedule,
        image_shape: Supplied[Sequence[int]],
        class_names: Supplied[Sequence[str]],
        penalty: Penalty | None = None,
        loss: Literal["non_saturating", "least_squares", "hinge"] = "least_squares",
        cycle_weight: NotNegative = 10.0,
        identity_weight: NotNegative = 0.5,
        history: Whole = 50,
        average_half_life: NotNegative = 0,
        average_ramp: NotNegative = 0.1,
        gradient_clip: Positive | None = None,
    ) -> None:
        if len(class_names) != 2:
            raise UserError(
                f"model=cyclegan turns pictures of one kind into another, and these data have {len(class_names)} kinds:"
                " type data=two_folders data.source.a=<folder> data.source.b=<folder>."
            )
        super().__init__(image_shape, class_names, schedule)
        channels = image_shape[0]
        # As the generators' kwargs are: of channels alone, so that they take pictures of any size.
        networks = nn.ModuleDict({direction: generator(channels=channels) for direction in DIRECTIONS})
        networks["judge_a"] = discriminator(channels=channels)
        networks["judge_b"] = discriminator(channels=channels)
        self.set_network(networks, optimizer, average_half_life, average_ramp, gradient_clip)
        self.penalty, self.loss = penalty or Penalty(), LOSSES[loss]
        self.cycle_weight, self.identity_weight = cycle_weight, identity_weight
        self.register_buffer("pool", torch.zeros(2, history, *image_shape))
        self.register_buffer("pooled", torch.zeros(2, dtype=torch.int64))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return what all networks lose on this batch, and the parts."""
        images, labels = batch["images"], batch["labels"]
        a, b = images[labels == 0], images[labels == 1]
        if len(a) != len(b):
            raise UserError(
                f"A batch has {len(a)} pictures of {self.class_names[0]} and {len(b)} of {self.class_names[1]}: type"
                " data.sampling=balanced and an even data.batch_size."
            )
        self.count(batch)
        networks = self.network
        made_b, made_a = networks["a_to_b"](a), networks["b_to_a"](b)
        back = F.l1_loss(networks["b_to_a"](made_b), a) + F.l1_loss(networks["a_to_b"](made_a), b)
        kept = F.l1_loss(networks["a_to_b"](b), b) + F.l1_loss(networks["b_to_a"](a), a)
        with frozen(networks["judge_a"]), frozen(networks["judge_b"]):
            opinions = networks["judge_a"](made_a), networks["judge_b"](made_b)
            fooled = torch.stack([self.loss.generator(logits, logits) for logits in opinions]).sum()
        judged = self._judged("judge_a", a, made_a, 0) + self._judged("judge_b", b, made_b, 1)
        generators = fooled + self.cycle_weight * (back + self.identity_weight * kept)
        return {
            "loss": generators + judged,
            "generator_loss": fooled.detach(),
            "discriminator_loss": judged.detach(),
            "cycle_loss": back.detach(),
            "identity_loss": kept.detach(),
        }

    def _judged(self, name: str, real: Tensor, made: Tensor, kind: int) -> Tensor:
        """Return what a discriminator loses on real pictures and on results, former ones among them."""
        images = torch.cat([real, self._of_all_times(made.detach(), kind)])
        images.requires_grad_(self.penalty.reads_images)
        judge = self.network[name]
        logits = judge(images)
        loss = self.loss.discriminator(*logits.chunk(2))
        uniform = functools.partial(self.of_this_process, torch.rand)
        penalty = self.penalty(
            images, logits.flatten(1).mean(dim=1), lambda points: judge(points).flatten(1).mean(dim=1), uniform
        )
        return loss if penalty is None else loss + penalty

    def _of_all_times(self, made: Tensor, kind: int) -> Tensor:
        """Return each result or, half of the time, a former one, whose place in the pool it takes."""
        pool, size = self.pool[kind], self.pool.shape[1]
        if not size:
            return made
        shown = made.clone()
        for number, image in enumerate(made):
            filled = int(self.pooled[kind])
            exchanged, place = torch.rand(1).item() < 0.5, int(torch.randint(size, (1,)))
            if filled < size:
                pool[filled] = image
                self.pooled[kind] += 1
            elif exchanged:
                shown[number] = pool[place]
                pool[place] = image
        return shown

    def dummy_loss(self, images: Tensor) -> Tensor:
        """Return the errors of copies of both generators: the larger part of a step."""
        networks = copy.deepcopy(self.network)
        total: Tensor = networks["b_to_a"](networks["a_to_b"](images)).float().square().sum()
        return total

    @torch.no_grad()
    def translate(self, images: Tensor, direction: Direction = "a_to_b") -> Tensor:
        """Return pictures ``(B, C, H, W)`` in [-1, 1] of one kind as ones of the other, of any size.

        Raises:
            UserError: there is no such direction.
        """
        if direction not in DIRECTIONS:
            raise UserError(f"direction={direction} is not known: type one of {', '.join(DIRECTIONS)}.")
        made: Tensor = self.inference_network[direction](images.to(self.device))
        return made.float().clamp(-1, 1)
