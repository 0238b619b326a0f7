"""How good are the pictures that a model draws?

FID, KID and Inception Score against a split of real pictures; precision, recall, density and coverage; whether a
conditional model draws the class that it is asked for, or what the caption says. Beside them, the same numbers for real
training pictures (the oracle: no model should be expected to do better) and for Gaussian noise with the mean and
deviation of every pixel (the baseline: a model that does worse has learned nothing).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from torch import Tensor

from darkroom import baselines, digests, paths
from darkroom import images as convention
from darkroom.data.contract import Data, Pictures, Progress
from darkroom.errors import UserError
from darkroom.isolation import evaluating, preserve_rng_state
from darkroom.judges import statistics
from darkroom.judges.eye import Captioned, Eye, combinations, obedience
from darkroom.judges.judge import Extractor, Judge, NoJudge, find
from darkroom.judges.teaching import check_certified, taught_and_kept
from darkroom.metrics import neighbours
from darkroom.metrics.batches import (
    CHUNK,
    Moments,
    as_often,
    checked,
    class_shares,
    in_order,
    in_turn,
    in_words,
    looked_at,
)
from darkroom.metrics.metric import Metric
from darkroom.metrics.protocol import Protocol
from darkroom.metrics.scores import Scores
from darkroom.models.abilities import Draws, DrawsVariously
from darkroom.numbers import Count, Range, Seed
from darkroom.references import remembered

BESIDE = {"oracle": "real train images", "noise": "noise"}  # what stands beside, by the last word of its name
MODE_SHARE = 0.1  # a class counts as drawn when it gets this part of an equal share


class Generative(Metric):
    """Score drawn pictures against real ones, always under a stated protocol.

        metric = Generative(judge="domain", images=2000)
        scores = metric.score(model, data, "val")               # while training, through torchmetrics
        scores = metric.score(model, data, "test", exact=True)  # for the record, through torch-fidelity
        scores.values["fid"], scores.protocol

    FID grows as fewer pictures are drawn, so only equal numbers of pictures are comparable; the oracle is drawn with
    the same number. Features of all pictures are kept in memory (64 to 2048 numbers each), the pictures never are.
    """

    needs: ClassVar[type] = Draws
    objective: tuple[str, str] | None = ("fid", "min")

    def __init__(
        self,
        judge: str = "domain",
        images: Count = 2000,
        test_images: Count | None = 10_000,
        every: Count = 20_000,
        kid_subsets: Count = 20,
        kid_subset_size: Annotated[int, Range(2)] = 1000,
        splits: Count = 1,
        precision_neighbours: Count = 3,
        neighbours: Count = 5,
        seed: Seed = 0,
        value_type: Literal["uint8", "float"] = "uint8",
        weights: str | None = None,
        cache: str | None = None,
    ) -> None:
        """Choose what is measured and how.

        ``images`` are drawn for a score of the train or val split, ``test_images`` for the test split (None: as many as
        the split has). ``every`` is the number of training images between two scorings. ``neighbours`` is the k of
        density and coverage, ``precision_neighbours`` that of precision and recall. ``value_type=float`` leaves drawn
        pixels unrounded, as some papers did. ``weights`` is the file of judge=inception.
        """
        self.judge = judge
        self.images = images
        self.test_images = test_images
        self.every = every
        self.kid_subsets = kid_subsets
        self.kid_subset_size = kid_subset_size
        self.splits = splits
        self.precision_neighbours = precision_neighbours
        self.neighbours = neighbours
        self.seed = seed
        self.value_type = value_type
        self.weights = weights
        self.cache = _kept_in(cache) if cache else paths.cache()
        self._extractor: Extractor | None = None
        self._extractor_data = ""
        self._eye: Eye | None = None
        self._eye_data = ""

    def prepare(self, model: object, data: Any, say: Callable[[str], None]) -> None:
        """Have the judge at hand, taught where there is none yet, and the eye for a model that reads captions."""
        try:
            extractor = self.extractor(data)
        except NoJudge:
            taught_and_kept(data, self.cache / "judges", say)
            extractor = self.extractor(data)
        if extractor.image_shape is not None:
            channels, height, width = data.image_shape
            extractor.matched_channels(torch.empty(0, channels, height, width), extractor.image_shape[0])
        if isinstance(extractor, Judge):
            check_certified(extractor, say)
        if not isinstance(model, Draws) or not model.vocabulary:
            return
        say(f"An eye reads pictures of '{data.name}' for their attributes: if there is none yet, it is taught now.")
        if (eye := self.eye(model, data)) is None:
            say("Whether captions are obeyed is not scored: nobody knows for certain what these pictures show.")
        else:
            say(f"It reads {eye.accuracy:.1%} of the attributes of real pictures right.")

    def extractor(self, data: Data) -> Extractor:
        """Return the network that these data are looked at with, found once.

        Raises `darkroom.judges.judge.NoJudge` when one has to be made first, `UserError` when there can be none:
        call this before training, not after.
        """
        if self._extractor is None or self._extractor_data != data.digest:
            self._extractor = find(self.judge, data, self.cache, self.weights)
            self._extractor_data = data.digest
        return self._extractor

    def eye(self, model: Draws, data: Data) -> Eye | None:
        """Return what tells whether pictures show what their captions ask for, found or taught once.

        None for a model that reads no captions, and for data whose attributes are not known for certain. Raises
        `UserError` when it cannot be taught: call this before training, not after.
        """
        if not model.vocabulary:
            return None
        if self._eye_data != data.digest:
            self._eye = Eye.of(cast(Captioned, data), self.cache)
            self._eye_data = data.digest
        return self._eye

    def count(self, data: Data, split: str) -> int:
        """Return how many pictures are drawn to score a split."""
        count = (self.test_images or len(data.pictures(split))) if split == "test" else self.images
        most = data.held_out
        return count if most is None else min(count, max(most, self._least(self.extractor(data))))

    def check(self, model: object, data: Data, splits: Sequence[str]) -> None:
        """Refuse splits that could not be scored, before anything is drawn or trained.

        Raises:
            UserError: too few pictures in one, or too few that are drawn for it.
        """
        extractor = self.extractor(data)
        least = max(self._least(extractor), self.splits)
        for split in splits:
            key = "test_images" if split == "test" else "images"
            if (count := self.count(data, split)) < least:
                raise UserError(
                    f"{count} drawn pictures are too few for the {extractor.feature_dim} features of the judge: type"
                    f" metrics.{key}={least} or more."
                )
            if (count := len(data.pictures(split))) < least:
                raise UserError(
                    f"The {split} split of {data.name} has {count} pictures, too few for the {extractor.feature_dim}"
                    f" features of the judge {extractor.name}: hold out {least} or more, type"
                    f" data.source.{split}={least}, or metrics=none."
                )

    def score(
        self, model: Draws, data: Data, split: str, exact: bool = False, progress: Progress | None = None
    ) -> Scores:
        """Draw pictures and score them against a split of real ones.

        Each class is asked for as often as the training pictures show it, or the captions of the split are, in turn:
        real MNIST with all classes equally often is 0.068 from its test split instead of 0.023 (FID, judge mnist). The
        model, its modes and every random state are as before afterwards. ``exact`` reports through torch-fidelity and
        adds the oracle and the baseline of every metric.
        """
        count = self.count(data, split)
        indices = torch.arange(count)
        asked = as_often(data, model.classes, count) if model.classes else None
        wanted = asked if asked is not None else in_words(model, data, split, indices)
        eye, right = self.eye(model, data), []
        attributes = cast(Captioned, data).attributes(split) if eye is not None else {}

        def drawn() -> Iterator[Tensor]:
            for part in torch.split(indices, CHUNK):
                images = model.sample(part, self.seed, None if wanted is None else wanted[part])
                if (
                    not images.isfinite().all()
                ):  # as bytes they would be black, or whatever this processor makes of them
                    raise UserError("the model draws values that are not finite: score an earlier checkpoint of it")
                pictures = convention.to_uint8(images)
                if eye is not None:
                    right.append(eye.right(pictures, in_turn(attributes, part)))
                yield images if self.value_type == "float" else pictures

        extractor = self.extractor(data)
        self._check_enough(extractor, count, "drawn", f"raise metrics.{'test_images' if split == 'test' else 'images'}")
        made: Protocol = {
            "averaged_weights": model.averaged,
            "truncation": 1.0,
            "seed": self.seed,
            "value_type": "float" if self.value_type == "float" else "uint8, rounded",
        }
        if isinstance(model, DrawsVariously):
            made["sampler"] = model.sampler_name
        with evaluating(model, model.device):
            extractor.to(model.device)
            scores = self._score(drawn(), count, asked, data, split, made, exact, progress)
        if eye is None:
            return scores
        values = obedience(torch.cat(right), list(eye.names), combinations(attributes, count))
        if exact:
            real = data.pictures(split)
            read = eye.right(real.batch(torch.arange(len(real))), attributes)
            oracle = obedience(read, list(eye.names), combinations(attributes, len(real)))
            values |= {f"{name}_oracle": value for name, value in oracle.items()}
        return scores | Scores(values, {"eye_hash": eye.hash}, references=baselines.ending(values, BESIDE))

    def judged(self, model: Draws, data: Data, split: str) -> dict[str, float]:
        """Return the scores of drawn pictures alone, whatever else a kind of metrics asks of a model."""
        return Generative.score(self, model, data, split).values

    def score_images(
        self,
        images: Pictures | Iterable[Tensor],
        labels: Tensor | None,
        data: Data,
        split: str,
        exact: bool = True,
        progress: Progress | None = None,
    ) -> Scores:
        """Score pictures that something else made, under the same protocol.

        ``images`` yields uint8 pictures ``(C, H, W)`` or batches ``(b, C, H, W)`` of the data's shape; ``labels`` are
        the classes that were asked for. Raises `UserError` for anything else, and for too few.
        """
        with preserve_rng_state():
            return self._score(
                checked(images, data.image_shape),
                len(images) if isinstance(images, Pictures) else None,
                labels,
                data,
                split,
                {"averaged_weights": "unknown", "truncation": "unknown", "seed": "unknown"},
                exact,
                progress,
            )

    def _score(
        self,
        batches: Iterable[Tensor],
        count: int | None,
        asked: Tensor | None,
        data: Data,
        split: str,
        made: Protocol,
        exact: bool,
        progress: Progress | None,
    ) -> Scores:
        extractor = self.extractor(data)
        real = self._real(extractor, data, split)
        seen, logits = looked_at(extractor, batches, count, progress)
        self._check_enough(extractor, len(seen), "to score", "give more of them")
        if asked is not None and len(asked) != len(seen):
            raise UserError(f"there are {len(seen)} pictures to score and {len(asked)} labels: give one label for each")
        values = self._values(seen, logits, real, statistics.by_torch_fidelity if exact else statistics.by_torchmetrics)
        if extractor.class_names and extractor.class_names == list(data.class_names):
            values |= _classes_drawn(logits, asked, class_shares(data))
        for name, value in self._rows(extractor, data, split, len(seen), real).items():
            if exact or name.startswith("fid_"):
                values[name] = value
        if not extractor.names:  # the Inception Score asks how sure and how varied names are
            values = {name: value for name, value in values.items() if not name.startswith("inception_score")}
        protocol = self._protocol(extractor, data, split, len(seen), len(real), exact)
        return Scores(values, protocol | made, references=baselines.ending(values, BESIDE))

    def _values(self, seen: Tensor, logits: Tensor, real: Tensor, library: statistics.Library) -> dict[str, float]:
        """Return what any set of pictures can be asked against the real ones, both given as features."""
        values = library(seen, real, logits, self._statistics(len(seen), len(real)))
        # Balls shrink as pictures become more: unequal numbers alone would drive coverage to 1 and recall to 0.
        equal = min(len(seen), len(real))
        chosen = torch.randperm(len(real), generator=torch.Generator().manual_seed(self.seed))[:equal]
        one, other = (
            neighbours.manifold(part, self.precision_neighbours, self.neighbours)
            for part in (seen[:equal], real[chosen])
        )
        return values | neighbours.compare(one, other, self.neighbours)

    def _statistics(self, generated: int, real: int) -> statistics.Statistics:
        return statistics.Statistics(
            kid_subsets=self.kid_subsets,
            kid_subset_size=min(self.kid_subset_size, generated, real),
            splits=self.splits,
            seed=self.seed,
        )

    def _real(self, extractor: Extractor, data: Data, split: str) -> Tensor:
        """Return the features of a whole split, from the cache if they are there."""
        pictures = data.pictures(split)
        remedy = "choose a larger one" if data.held_out is None else "raise data.held_out"
        self._check_enough(extractor, len(pictures), f"in the {split} split", remedy)

        def make() -> dict[str, Tensor]:
            return {"features": looked_at(extractor, in_order(pictures), len(pictures), None)[0]}

        key = self._reference_key(extractor, data, split)
        return remembered(self.cache / "references", "real", key, make)["features"]

    def _rows(self, extractor: Extractor, data: Data, split: str, count: int, real: Tensor) -> dict[str, float]:
        """Return the oracle and the baseline: ``fid_oracle``, ``fid_noise``, ``kid_oracle`` and so on.

        The oracle is missing when there are too few training pictures, or when they are what it is compared with.
        """
        train = data.pictures("train")
        available = min(count, len(train))
        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.randperm(len(train), generator=generator)[:available]
        drawn = self._statistics(available, len(real))
        key = self._reference_key(extractor, data, split) | {
            "train": data.split_digests["train"],
            "count": count,
            "kid": [drawn.kid_subsets, drawn.kid_subset_size],
            "splits": self.splits,
            "neighbours": [self.precision_neighbours, self.neighbours],
            "seed": self.seed,
        }

        def make() -> dict[str, Tensor]:
            moments = Moments()
            seen, logits = looked_at(extractor, moments.watching(in_order(train, chosen)), available, None)
            rows = {}
            if split != "train" and available >= self._least(extractor):
                for name, value in self._values(seen, logits, real, statistics.by_torchmetrics).items():
                    rows[f"{name}_oracle"] = value
            seen, logits = looked_at(extractor, moments.noise(count, generator), count, None)
            for name, value in self._values(seen, logits, real, statistics.by_torchmetrics).items():
                rows[f"{name}_noise"] = value
            return {name: torch.tensor(value, dtype=torch.float64) for name, value in rows.items()}

        rows = remembered(self.cache / "references", "rows", key, make)
        return {name: rows[name].item() for name in sorted(rows)}

    def _reference_key(self, extractor: Extractor, data: Data, split: str) -> dict[str, object]:
        return {
            "code": digests.of_code(),  # digests of data are of pictures before resizing, which code may do differently
            "data": data.split_digests[split],
            "split": split,
            "image_shape": list(data.image_shape),
            "extractor": extractor.hash,
            "resizing": extractor.resizing,
        }

    def _protocol(
        self, extractor: Extractor, data: Data, split: str, generated: int, real: int, exact: bool
    ) -> Protocol:
        from importlib.metadata import version

        drawn = self._statistics(generated, real)
        channels, height, width = data.image_shape
        return {
            "extractor": extractor.name,
            "extractor_hash": extractor.hash,
            "generated_images": generated,
            "real_images": real,
            "oracle_images": min(generated, len(data.pictures("train"))),
            "data": data.name,
            "data_digest": data.split_digests[split],
            "split": split,
            "image_size": f"{channels}x{height}x{width}",
            "resizing": extractor.resizing,
            "value_type": "uint8, rounded",  # of pictures from files; drawn ones may say otherwise
            "kid_subsets": drawn.kid_subsets,
            "kid_subset_size": drawn.kid_subset_size,
            "inception_score_splits": self.splits,
            "neighbourhood_images": min(generated, real),
            "precision_neighbours": self.precision_neighbours,
            "density_neighbours": self.neighbours,
            "library": "torch-fidelity" if exact else "torchmetrics",
            "torch": version("torch"),
            "torchmetrics": version("torchmetrics"),
            "torch_fidelity": version("torch-fidelity"),
        }

    def _check_enough(self, extractor: Extractor, count: int, where: str, remedy: str) -> None:
        """Refuse numbers that say more about their count than about the pictures."""
        if count < self._least(extractor):
            raise UserError(
                f"{count} pictures {where} are too few for the {extractor.feature_dim} features of the judge "
                f"'{extractor.name}': expected at least {self._least(extractor)}, so {remedy}"
            )

    def _least(self, extractor: Extractor) -> int:
        # With fewer pictures than features a covariance has no full rank, and FID is mostly a measure of that.
        return max(extractor.feature_dim, self.neighbours, self.precision_neighbours) + 1


def _kept_in(cache: str) -> Path:
    folder = Path(cache).expanduser()
    try:
        paths.check_writable(folder)
    except OSError as error:
        raise UserError(
            f"metrics.cache={cache} cannot be used ({error.strerror}): type metrics.cache=<a folder that can be"
            " written>, or leave it out for DARKROOM_CACHE."
        ) from None
    return folder


def _classes_drawn(logits: Tensor, asked: Tensor | None, expected: Tensor | None) -> dict[str, float]:
    """Return what the judge takes the pictures for.

    ``class_entropy`` is that of the class histogram as a share of its maximum (1: all classes equally often), ``modes``
    the number of classes drawn, ``class_share_error`` by how much, as a share of it, the share of the class that is
    furthest off differs from the ``expected`` one, and ``label_accuracy`` the share of pictures that are taken for the
    class asked for.
    """
    classes = logits.shape[1]
    named = logits.argmax(dim=1)
    counts = torch.bincount(named, minlength=classes).double()
    shares = counts / counts.sum()
    values = {
        "class_entropy": statistics.evenness(shares),
        "modes": float((shares >= MODE_SHARE / classes).sum()),
    }
    if expected is not None:
        shown = expected > 0
        values["class_share_error"] = (shares[shown] / expected[shown] - 1).abs().max().item()
    if asked is not None:
        values["label_accuracy"] = (named == asked.cpu()).double().mean().item()
    return values
