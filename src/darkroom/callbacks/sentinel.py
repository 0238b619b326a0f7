"""A look at the model's health every few thousand images, and what is done when something is wrong."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from darkroom import digests
from darkroom.callbacks.cadence import Cadence
from darkroom.callbacks.curves import Curves, Diverged
from darkroom.callbacks.health import (
    DIVERGENCE,
    SMOOTHING,
    Finding,
    Health,
    Reference,
    Watch,
    frechet,
    overfitting,
    vitals,
)
from darkroom.callbacks.saving import Checkpoints
from darkroom.data.module import ImageData
from darkroom.images import from_uint8, to_uint8
from darkroom.isolation import evaluating
from darkroom.judges.judge import Extractor
from darkroom.metrics.latents import Facts
from darkroom.models.abilities import Discriminates, Draws, DrawsVariously, Infers
from darkroom.models.model import Model
from darkroom.references import remembered
from darkroom.tracking import checkpoints as files
from darkroom.tracking import tag
from darkroom.tracking.run import Run

ROLLBACKS = 3
SHOWN = 256  # pictures of each kind that the discriminator is shown
KNOWN = 5000  # training pictures among which copies are looked for
SHARE_OF_TIME = 0.05  # above which the sentinel says that it costs too much


class View:
    """Looks at what a model draws beside a fixed choice of real pictures."""

    def __init__(self, data: ImageData, extractor: Extractor | None, cache: Path, health: Health) -> None:
        """Look through a judge, whose view of real pictures is kept in ``cache``; without one, through nobody's."""
        self.data, self.extractor, self.cache, self.seed = data, extractor, cache, health.seed
        self.count = min(health.images, len(data.pictures("val")))
        self._reference: Reference | None = None
        generator = torch.Generator().manual_seed(health.seed)
        self.chosen = {
            split: torch.randperm(len(data.pictures(split)), generator=generator)[:most]
            for split, most in {"val": self.count, "train": KNOWN}.items()
        }

    def look(self, model: Draws) -> dict[str, float]:
        """Return what can be said of the generator as it is, of its average, and of its discriminator.

        Of a model that draws from what is fitted to its latents, and not at any moment, what these tell of pictures.
        """
        if isinstance(model, Infers):
            return self._latents(model)
        if isinstance(model, DrawsVariously):
            return {}
        indices, values = torch.arange(self.count), {}
        with evaluating(model, model.device):
            with _as_it_is(model):
                drawn = model.sample(indices, self.seed)
            if not drawn.isfinite().all():
                return {"drawn_pictures": float("nan")}
            if self.extractor is not None:
                reference = self.reference(model.classes)
                self.extractor.to(model.device)
                values = vitals(*self.extractor.look(to_uint8(drawn)), reference)
                if model.averaged:
                    averaged = self.extractor.features(to_uint8(model.sample(indices, self.seed)))
                    values["averaged_distance"] = frechet(averaged, reference.real.features)
            return values | (self._opinions(model, drawn) if isinstance(model, Discriminates) else {})

    def reference(self, classes: int) -> Reference:
        """Return the judge's view of the real pictures; it never changes, and is worth keeping."""
        if self._reference is None:
            assert self.extractor is not None
            key = {
                "code": digests.of_code(),
                "data": [self.data.split_digests[split] for split in self.chosen],
                "image_shape": list(self.data.image_shape),
                "extractor": self.extractor.hash,
                "count": [len(chosen) for chosen in self.chosen.values()],
                "seed": self.seed,
            }
            known = remembered(self.cache / "references", "health", key, self._known)
            named = known["named"].double()
            if classes and len(named) == classes:
                named = torch.full_like(named, 1 / classes)  # as often as each is asked for
            self._reference = Reference.of(known["val"], known["train"], named)
        return self._reference

    def _known(self) -> dict[str, Tensor]:
        extractor = self.extractor
        assert extractor is not None
        known = {}
        for split, chosen in self.chosen.items():
            pictures = self.data.pictures(split)
            parts = [extractor.look(pictures.batch(part)) for part in torch.split(chosen, SHOWN)]
            known[split] = torch.cat([features for features, _ in parts])
            if split == "val":
                names = torch.cat([logits for _, logits in parts]).argmax(dim=1)
                classes = len(extractor.class_names)
                counts = torch.bincount(names, minlength=classes)[:classes].double() + SMOOTHING
                known["named"] = counts / counts.sum()  # no class is impossible, however rare
        return known

    def _latents(self, model: Infers) -> dict[str, float]:
        """Return the health of the latents of held-out pictures."""
        pictures, chosen = self.data.pictures("val"), self.chosen["val"]
        labels = pictures.labels[chosen] if pictures.labels is not None else None
        with evaluating(model, model.device):
            facts = Facts.of(*model.posterior(from_uint8(pictures.batch(chosen)), labels))
        return {"rate": facts.rates.sum().item()} | facts.numbers()

    def _opinions(self, model: Discriminates, drawn: Tensor) -> dict[str, float]:
        """Return what the discriminator makes of training, held-out and drawn pictures."""
        logits = {}
        for split, chosen in self.chosen.items():
            shown, pictures = chosen[:SHOWN], self.data.pictures(split)
            told = pictures.labels[shown] if pictures.labels is not None else None
            if model.vocabulary:
                captions = self.data.captions(split)
                told = model.vocabulary.tokens([captions[index] for index in shown.tolist()])
            logits[split] = model.realness(from_uint8(pictures.batch(shown)), model.conditions(shown, told))
        logits["drawn"] = model.realness(drawn[:SHOWN], model.conditions(torch.arange(len(drawn[:SHOWN]))))
        return {
            "train_logit": logits["train"].mean().item(),
            "held_out_logit": logits["val"].mean().item(),
            "drawn_logit": logits["drawn"].mean().item(),
            "overfitting": overfitting(logits["train"], logits["val"], logits["drawn"]),
        }


class Sentinel(pl.Callback):
    """Look every ``health.every`` images, tell in the run what is wrong, and warn, stop or roll back.

    A look reads the judge's view of what the generator draws, without averaging, where collapse shows first, and how
    far what its average draws is from real pictures, since the average of good states can be a bad one; the
    discriminator's logits of training, held-out and drawn pictures; losses and gradients since the last look.

    A rollback takes weights and optimizers from the best checkpoint and halves the learning rates; the count of images,
    the data and the schedules go on. After three of them training stops.

    Stands before whatever scores (``before``), so that a state that is no number any more is not scored.

    Raises:
        Diverged: a loss is not a number any more, and there is nothing to return to.
    """

    def __init__(
        self,
        run: Run | None,
        health: Health,
        view: View,
        checkpoints: Checkpoints,
        curves: Curves,
        before: Cadence | None,
        say: Callable[[str], None],
    ) -> None:
        self.run, self.health, self.view = run, health, view
        self.checkpoints, self.curves, self.before, self.say = checkpoints, curves, before, say
        self.cadence = Cadence(health.every) if health.every else None
        self.watch = Watch(health)
        self.events: list[dict[str, Any]] = []
        self.rollbacks = 0
        self.stopped = False  # whether training is over because of what was found
        self.seconds = 0.0
        self._norms: dict[str, Tensor] = {}
        self._steps: dict[str, int] = {}
        self._owners: dict[int, str] = {}
        self._seen = 0
        self._since = 0.0
        self._complained = False
        curves.forgiving = self.cadence is not None and health.on_collapse == "rollback"

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Learn whose weights each optimizer moves, and go on as slowly as was decided before an interruption."""
        assert isinstance(pl_module, Model)
        self._seen, self._since = pl_module.images_seen, time.monotonic()
        for optimizer in pl_module._optimizers():
            first = optimizer.param_groups[0]["params"][0]
            owners = [name for name, part in pl_module.named_children() if any(first is p for p in part.parameters())]
            self._owners[id(optimizer)] = owners[0] if owners else "model"
        _slow_down(pl_module, 0.5**self.rollbacks)
        if self.cadence is not None:
            self._record()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Add the norm of the gradient, before it is clipped; it stays on the device until a look."""
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.cadence is None or not gradients:
            return
        owner = self._owners[id(optimizer)]
        norm = torch.stack(torch._foreach_norm(gradients)).norm().float()
        self._norms[owner] = self._norms[owner] + norm if owner in self._norms else norm
        self._steps[owner] = self._steps.get(owner, 0) + 1

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look when due; before a score and at a point of a curve, see that everything is a number."""
        assert isinstance(pl_module, Model)
        if self.cadence is None:
            return
        before, self._seen = self._seen, pl_module.images_seen
        due = self.cadence.due(before, self._seen)
        # Asked of counts alone, which are the same in every process: they must all take part, or none.
        others = [self.curves.cadence, *([self.before] if self.before else [])]
        if not due and not any(cadence.due(before, self._seen) for cadence in others):
            return
        if due and trainer.is_global_zero and isinstance(pl_module, Draws) and self.view.extractor is not None:
            self.watch.floor = self.view.reference(pl_module.classes).distance
        started = time.monotonic()  # what is learnt of the real pictures, once, is not what looking costs
        findings: list[Finding] = []
        if trainer.is_global_zero:
            gradients = {f"{owner}_gradient": float(n) / self._steps[owner] for owner, n in self._norms.items()}
            values = dict(gradients)
            if due and isinstance(pl_module, Draws):
                # In the arithmetic of training: half the time where that is bfloat16. The judge keeps to its own.
                with trainer.precision_plugin.forward_context():
                    values |= self.view.look(pl_module)
            if due and self.run is not None:
                self.run.log_metrics({f"health/{name}": value for name, value in values.items()}, step=self._seen)
            losses = self.curves.means() if self.curves.forgiving else {}
            findings = self.watch.look(self._seen, values | losses) if due else self.watch.broken(self._seen, losses)
        if due:
            self._norms, self._steps = {}, {}
        findings = trainer.strategy.broadcast(findings)
        self.seconds += time.monotonic() - started
        if findings:
            self._act(trainer, pl_module, findings)
        self._check_cost()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave in the run that it diverged, when somebody else has found that."""
        told = any(event["ailment"] == DIVERGENCE for event in self.events)
        if isinstance(exception, Diverged) and not told and self.run is not None:
            reason, _, advice = str(exception).partition(": ")
            event = {"images": self._seen, "ailment": DIVERGENCE, "since": self._seen, "reason": reason}
            self.events.append(event | {"done": "training cannot go on", "advice": advice.rstrip(".")})
            self._record()

    def _act(self, trainer: pl.Trainer, model: Model, findings: list[Finding]) -> None:
        """Do what was asked for, once for all that was found, and tell each."""
        numberless = any(finding.numberless for finding in findings)
        done = "training goes on"
        if self.health.on_collapse == "stop":
            trainer.should_stop = self.stopped = True
            done = "training stops"
        elif self.health.on_collapse == "rollback":
            done = self._roll_back(trainer, model)
            if numberless and not done.startswith("rolled back"):
                self._tell(findings, "training cannot go on")
                raise Diverged(f"{findings[0].reason} after {self._seen} images, and {done}: {findings[0].advice}.")
        self._tell(findings, done)

    def _roll_back(self, trainer: pl.Trainer, model: Model) -> str:
        """Return to the best checkpoint if there is one and it was not yet done too often; say what was done."""
        path = self.checkpoints.path("best")
        found = trainer.strategy.broadcast(path.exists())
        if self.rollbacks == ROLLBACKS:
            trainer.should_stop = self.stopped = True
            return f"training stops after {ROLLBACKS} rollbacks"
        if not found:
            return "there is no best checkpoint yet to return to, so training goes on"
        # Only the first process knows the folder.
        state = trainer.strategy.broadcast(files.load(path) if trainer.is_global_zero else {})
        model.load_state_dict(state["state_dict"])
        trainer.strategy.load_optimizer_state_dict(state)
        self.rollbacks += 1
        _slow_down(model, 0.5)
        self.watch.settle()
        self.curves.reset()
        self._norms, self._steps = {}, {}
        return (
            f"rolled back to the best checkpoint, of {state['images_seen']:,} images, with half the learning rates"
            f" ({self.rollbacks} of {ROLLBACKS})"
        )

    def _tell(self, findings: list[Finding], done: str) -> None:
        if self.run is None:
            return
        for finding in findings:
            event = {
                "images": self._seen,
                "ailment": finding.ailment,
                "since": finding.since,
                "reason": finding.reason,
                "done": done,
                "advice": finding.advice,
            }
            self.events.append(event)
            since = f", seen since {finding.since:,}" if finding.since < self._seen else ""
            self.say(
                f"{finding.ailment.capitalize()} at {self._seen:,} images{since}: {finding.reason}; {done}. What may"
                f" help: {finding.advice}."
            )
        self._record()

    def _record(self) -> None:
        """Leave in the run what was found so far."""
        if self.run is None:
            return
        told = [f"{event['ailment']} at {event['images']:,} images" for event in self.events]
        self.run.set_tags({tag.HEALTH: "; ".join(told) or "healthy"})
        if self.events:
            self.run.log_json("events.json", self.events)

    def _check_cost(self) -> None:
        share = self.seconds / max(time.monotonic() - self._since, 1e-9)
        if self._complained or self._seen < self.health.grace or share <= SHARE_OF_TIME or self.run is None:
            return
        self._complained = True
        assert self.health.every is not None
        rarer = round(self.health.every * share / SHARE_OF_TIME, -3)
        self.say(f"The sentinel takes {share:.0%} of the time: type sentinel.every={rarer:.0f}, or fewer images.")

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered, what was told and done, and the sums since the last look."""
        return {
            "watch": self.watch.state_dict(),
            "events": self.events,
            "rollbacks": self.rollbacks,
            "stopped": self.stopped,
            "norms": dict(self._norms),
            "steps": dict(self._steps),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take all that up again."""
        self.watch.load_state_dict(state_dict["watch"])
        self.events, self.rollbacks = list(state_dict["events"]), state_dict["rollbacks"]
        self._norms, self._steps = dict(state_dict["norms"]), dict(state_dict["steps"])


@contextmanager
def _as_it_is(model: Any) -> Iterator[None]:
    """Let a model draw with the weights that it trains, not with their average."""
    average = model._modules.get("average")
    if average is None:
        yield
        return
    model._modules["average"] = None
    try:
        yield
    finally:
        model._modules["average"] = average


def _slow_down(model: Model, factor: float) -> None:
    """Multiply the learning rates that are configured, and let optimizers follow what is configured."""
    for optimizer, settings in zip(model._optimizers(), model._settings, strict=True):
        for group, configured in zip(optimizer.param_groups, settings, strict=True):
            for name in ("lr", "initial_lr"):
                configured[name] *= factor
            group.update(configured)
