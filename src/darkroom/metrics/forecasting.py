"""How well does a model say which frames come next, how far ahead, and better than what needs no learning?"""

import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from darkroom import baselines
from darkroom import images as convention
from darkroom.data.contract import Data, Progress
from darkroom.figures import rendered
from darkroom.imaging.motion import MOTIONS, accumulated, moved
from darkroom.isolation import evaluating
from darkroom.metrics import paired
from darkroom.metrics.metric import Metric
from darkroom.metrics.protocol import of_pictures
from darkroom.metrics.scores import Scores
from darkroom.models.abilities import Forecasts
from darkroom.numbers import Count, Seed

CHUNK = 50  # sequences continued at once
SHOWN = 3  # sequences on a sheet
ANIMATED = 8  # sequences in an animation
AVERAGED = 1000  # training sequences that the mean image is of
MOST = 100.0  # decibels that a perfect frame counts, where the mean would be infinite
# What takes no learning, by the last word of its numbers.
TRIVIAL = {
    "black": "black frame",
    "mean_image": "mean image",
    "mean_input": "inputs' mean",
    "copy": "last frame",
    "linear": "straight line",
}
TOLD = {"bicubic": "moved, bicubic"}  # which is told what is done, as the model is
MEASURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": paired.mse,
    "mae": paired.mae,
    "psnr": lambda made, true: paired.psnr(made, true).clamp(max=MOST),
    "ssim": paired.ssim,
}
PSNR = list(MEASURES).index("psnr")


@dataclass(frozen=True)
class Case:
    """Some sequences by index: the frames that are shown, those that follow, and what is done in between."""

    indices: Tensor
    shown: Tensor
    true: Tensor
    actions: Tensor | None


class Forecasting(Metric):
    """Continue held-out sequences from their first frames and compare each frame with the true one.

        metric = Forecasting()
        metric.score(model, data, "test", exact=True).values["mse"]        # a pixel, of pictures in [0, 1]

    ``mse`` and ``mae`` are means over pixels, ``mse_frame`` and ``mae_frame`` sums over the pixels of a frame, which is
    what most papers print. PSNR and SSIM are means over frames. Beside the model stand predictors that learn nothing:
    a black frame, the mean image of the training data, the mean of the frames shown, the last of them, and the straight
    line through the last two. ``gain`` is how many times smaller the model's MSE is than that of the best of them,
    ``gain_least`` the same at the horizon where it is smallest. Where the data say how the picture is turned, moved and
    enlarged, the last frame shown is moved so by bicubic interpolation as well (``psnr_bicubic``). ``psnr_lead`` is the
    model's lead over it, in the mean over frames that have been moved at all, ``psnr_lead_least`` the same at the
    horizon where it is smallest: of what stays as it is bicubic interpolation knows every bit.

    Of a model with several futures the first is scored, and the best of ``futures`` of each sequence, by its MSE, as
    ``best_mse``, ``best_psnr`` and ``best_ssim``.
    """

    needs = Forecasts
    objective: tuple[str, str] | None = ("mse", "min")

    def __init__(self, every: Count = 5000, images: Count = 200, futures: Count = 20, seed: Seed = 0) -> None:
        """Choose after how many training sequences to score, and how many of val; on test all of them."""
        self.every, self.images, self.futures, self.seed = every, images, futures, seed
        self._means: dict[str, Tensor] = {}  # the mean image of training data, by their digest

    def score(
        self, model: Forecasts, data: Data, split: str, exact: bool = False, progress: Progress | None = None
    ) -> Scores:
        """Continue held-out sequences; ``exact`` takes all of them."""
        clips: typing.Any = data.pictures(split)
        count = len(clips) if exact else min(self.images, len(clips))
        horizon = clips.frames - model.inputs
        with evaluating(model, model.device):
            predictors = self._predictors(model, data, horizon)
            sums = {name: torch.zeros(len(MEASURES), horizon, dtype=torch.float64) for name in predictors}
            best = torch.zeros(3, dtype=torch.float64)
            leads: list[Tensor] = []
            done = 0
            for case in self._cases(clips, model, torch.arange(count)):
                found = {name: _compared(predictor(case), case.true) for name, predictor in predictors.items()}
                for name, measured in found.items():
                    sums[name] += measured.sum(dim=1)
                if "bicubic" in found:
                    lead = found["model"][PSNR] - found["bicubic"][PSNR]
                    leads.append(lead.where(_displaced(case), torch.nan))
                if model.latents:
                    best += self._best(model, case, horizon, found["model"])
                done += len(case.indices)
                if progress:
                    progress(done, count)
            curves = {name: total / count for name, total in sums.items()}
            pictures = {"forecasts": self._sheet(clips, model, predictors), "horizons": _diagram(curves, data.name)}
            animations = {"forecasts": self._animation(clips, model, predictors)}
        values = self._values(curves, data)
        if leads:
            lead = torch.cat(leads)
            values |= {"psnr_lead": lead.nanmean().item(), "psnr_lead_least": lead.nanmean(dim=0).min().item()}
        if model.latents:
            values |= dict(zip(("best_mse", "best_psnr", "best_ssim"), (best / count).tolist(), strict=True))
        protocol = of_pictures(data, split, count, model) | {
            "inputs": model.inputs,
            "horizon": horizon,
            "told": ", ".join(model.actions) or "nothing",
            "value_type": "float, clipped",
        }
        if model.latents:
            protocol |= {"futures": self.futures, "seed": self.seed}
        return Scores(values, protocol, pictures, animations, baselines.ending(values, {**TRIVIAL, **TOLD}))

    def _predictors(self, model: Forecasts, data: Data, horizon: int) -> dict[str, Callable[[Case], Tensor]]:
        """Return what says the frames that follow, by name; the model first."""
        known = data.split_digests["train"]
        if known not in self._means:
            self._means[known] = _mean_image(data)
        mean = self._means[known]

        def always(frame: Callable[[Tensor], Tensor]) -> Callable[[Case], Tensor]:
            return lambda case: frame(case.shown)[:, None].expand_as(case.true)

        found: dict[str, Callable[[Case], Tensor]] = {
            "model": lambda case: self._forecast(model, case, horizon, 0),
            "black": always(lambda shown: torch.full_like(shown[:, 0], -1)),
            "mean_image": always(lambda shown: mean.expand_as(shown[:, 0])),
            "mean_input": always(lambda shown: shown.mean(dim=1)),
            "copy": always(lambda shown: shown[:, -1]),
            "linear": lambda case: _line(case.shown, horizon),
        }
        if tuple(data.actions) == MOTIONS:
            found["bicubic"] = _carried
        return found

    def _forecast(self, model: Forecasts, case: Case, horizon: int, future: int) -> Tensor:
        noise = None
        if model.latents:
            noise = model.noise(case.indices, case.shown.shape[1] - 1 + horizon, self.seed * 1000 + future)
        return model.forecast(case.shown, horizon, case.actions, noise).cpu()

    def _best(self, model: Forecasts, case: Case, horizon: int, first: Tensor) -> Tensor:
        """Return the sums of MSE, PSNR and SSIM of the best of several futures of each sequence, by its MSE.

        ``first`` are the measures of the first of them.
        """
        others = range(1, self.futures)
        found = [first, *(_compared(self._forecast(model, case, horizon, future), case.true) for future in others)]
        futures = torch.stack([measured.mean(dim=2)[[0, 2, 3]] for measured in found])  # (futures, 3, B)
        chosen = futures[:, 0].argmin(dim=0)
        return futures.gather(0, chosen[None, None].expand(1, 3, -1))[0].sum(dim=1)

    @staticmethod
    def _values(curves: dict[str, Tensor], data: Data) -> dict[str, float]:
        pixels = int(np.prod(data.image_shape))
        values: dict[str, float] = {}
        for predictor, curve in curves.items():
            suffix = "" if predictor == "model" else f"_{predictor}"
            means = dict(zip(MEASURES, curve.mean(dim=1).tolist(), strict=True))
            values |= {f"{name}{suffix}": mean for name, mean in means.items()}
            values |= {f"{name}_frame{suffix}": means[name] * pixels for name in ("mse", "mae")}
            values |= {f"mse_at_{step}{suffix}": mse for step, mse in enumerate(curve[0].tolist(), start=1)}
        trivial = torch.stack([curves[name][0] for name in TRIVIAL])
        own = curves["model"]
        values["gain"] = trivial.mean(dim=1).min().item() / max(values["mse"], 1e-12)
        values["gain_least"] = (trivial.amin(dim=0) / own[0].clamp(min=1e-12)).min().item()
        return values

    @staticmethod
    def _cases(clips: typing.Any, model: Forecasts, indices: Tensor) -> Iterator[Case]:
        for part in torch.split(indices, CHUNK):
            frames = convention.from_uint8(clips.batch(part))
            actions = None if clips.actions is None else clips.actions[part]
            yield Case(part, frames[:, : model.inputs], frames[:, model.inputs :], actions)

    def _sheet(
        self, clips: typing.Any, model: Forecasts, predictors: dict[str, Callable[[Case], Tensor]]
    ) -> np.ndarray:
        """Return three rows a sequence: what was shown and what followed, what the model said, and its error."""
        (case,) = self._cases(clips, model, convention.evenly(len(clips), SHOWN))
        made = predictors["model"](case)
        nothing = torch.full_like(case.shown, -1)
        rows = []
        for shown, true, said, empty in zip(case.shown, case.true, made, nothing, strict=True):
            rows += [shown, true, empty, said, empty, (said - true).abs() - 1]
        return convention.sheet(convention.to_uint8(torch.cat(rows)), columns=clips.frames, least=64)

    def _animation(
        self, clips: typing.Any, model: Forecasts, predictors: dict[str, Callable[[Case], Tensor]]
    ) -> np.ndarray:
        """Return an animation of sequences side by side: the truth above, what the model was shown and said below."""
        (case,) = self._cases(clips, model, convention.evenly(len(clips), ANIMATED))
        above = torch.cat([case.shown, case.true], dim=1)
        below = torch.cat([case.shown, predictors["model"](case)], dim=1)
        both = convention.to_uint8(torch.cat([above, below]))
        columns = len(case.indices)
        return np.stack([convention.sheet(frame, columns=columns, least=64) for frame in both.unbind(dim=1)])


def _compared(made: Tensor, true: Tensor) -> Tensor:
    """Return every measure of every frame of sequences ``(B, T, C, H, W)``: ``(measures, B, T)``."""
    count, horizon = true.shape[:2]
    flat = made.flatten(0, 1), true.flatten(0, 1)
    return torch.stack([measure(*flat).double().reshape(count, horizon) for measure in MEASURES.values()])


def _line(shown: Tensor, horizon: int) -> Tensor:
    """Return the frames on the straight line through the last two shown, clipped; one alone stays."""
    last = shown[:, -1:]
    change = last - shown[:, -2:-1] if shown.shape[1] > 1 else torch.zeros_like(last)
    ahead = torch.arange(1, horizon + 1, dtype=shown.dtype)[:, None, None, None]
    return (last + ahead * change).clamp(-1, 1)


def _carried(case: Case) -> Tensor:
    """Return the last frame shown, moved by all that is done until each frame."""
    assert case.actions is not None
    totals = accumulated(case.actions[:, case.shown.shape[1] - 1 :])
    return torch.stack([moved(case.shown[:, -1], total) for total in totals.unbind(dim=1)], dim=1)


def _displaced(case: Case) -> Tensor:
    """Return which frames to come show something else than the last frame shown, by what is done: bool ``(B, T)``."""
    assert case.actions is not None
    return (accumulated(case.actions[:, case.shown.shape[1] - 1 :]).abs() > 1e-6).any(dim=2)


def _mean_image(data: Data) -> Tensor:
    """Return the mean of all frames of the first training sequences, ``(C, H, W)``."""
    clips = data.pictures("train")
    chosen = torch.arange(min(AVERAGED, len(clips)))
    means = [
        convention.from_uint8(clips.batch(part)).mean(dim=(0, 1)) * len(part) for part in torch.split(chosen, CHUNK)
    ]
    return torch.stack(means).sum(dim=0) / len(chosen)


def _diagram(curves: dict[str, Tensor], title: str) -> np.ndarray:
    """Return MSE and SSIM by how far ahead a frame is, the model's and those of what takes no learning."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (row, name) in zip(figure.subplots(1, 2), ((0, "MSE a pixel"), (3, "SSIM")), strict=True):
        for predictor, curve in curves.items():
            ahead = range(1, curve.shape[1] + 1)
            label, width = predictor.replace("_", " "), 2.5 if predictor == "model" else 1.0
            axes.plot(ahead, curve[row], marker="o", markersize=3, linewidth=width, label=label)
        axes.set_xlabel("frames ahead")
        axes.set_ylabel(name)
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize="small")
    figure.suptitle(title)
    return rendered(figure)
