"""The keys that stand at the top of a configuration, command by command, with their types and defaults."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from darkroom.numbers import Count, OneOf, Positive, Range, Seed, Share, Whole

TYPED = "typed"  # in a field's metadata: its type for the line, where OmegaConf has none
_TEXTS = {TYPED: "str | list[str] | None"}


@dataclass
class Paths:
    """Folders; a relative one is relative to the current folder."""

    data: str | None = None


@dataclass
class Budget:
    """How long to train: real images consumed, or minutes of training, whichever comes first."""

    images: Count | None = None
    minutes: Positive | None = None


@dataclass
class Tracking:
    """How the run is recorded."""

    experiment: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    log_every: Count = 5000
    register: str | None = None
    alias: str = "champion"


@dataclass
class Saving:
    """What the run keeps beside its numbers."""

    every_minutes: Positive = 5.0
    samples_every: Count = 20000
    samples: Whole = 80


@dataclass
class Submit:
    """Where a run is queued instead of being trained here: what ``conf/submit/slurm.yaml`` says of each."""

    dry_run: bool = False
    nodes: Count = 1
    tasks: Count = 1
    gpus: Whole = 1
    cpus: Count = 4
    minutes: Count = 240
    warning: Count = 300
    memory: str | None = None
    partition: str | None = None
    account: str | None = None
    constraint: str | None = None
    setup: list[str] = field(default_factory=list)


@dataclass
class Train:
    """What ``darkroom train`` reads."""

    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    sentinel: dict[str, Any] = field(default_factory=dict)
    submit: dict[str, Any] | None = None
    seed: Seed = 0
    name: str | None = None
    precision: Annotated[str, OneOf("32", "bf16-mixed", "16-mixed", "auto")] = "32"
    budget: Budget = field(default_factory=Budget)
    saving: Saving = field(default_factory=Saving)
    resume: str | None = None
    fork: str | None = None
    init: str | None = None
    output: str | None = None
    trust: Any = None
    paths: Paths = field(default_factory=Paths)
    tracking: Tracking = field(default_factory=Tracking)


@dataclass
class Search:
    """What a sweep chooses among, how, and what each trial may cost; ``start`` and ``factors`` are for its space."""

    space: dict[str, Any] = field(default_factory=dict)
    needs: str = ""
    sampler: str = "tpe"
    pruner: str | None = "median"
    objectives: Any = None
    trials: Count = 24
    budget: Budget = field(default_factory=Budget)
    scores: Count | None = 8
    start: Positive | None = None
    factors: list[Positive] = field(default_factory=list)


@dataclass
class Sweep(Train):
    """What ``darkroom sweep`` reads: all that ``train`` does, which every trial gets, and how to search."""

    search: Search = field(default_factory=Search)
    trials: Count = 24
    workers: Count = 1
    seeds: Count = 1
    engine: Annotated[str, OneOf("processes", "ray")] = "processes"


@dataclass
class Prepare:
    """What ``darkroom prepare`` reads."""

    data: dict[str, Any] | None = None
    output: str | None = None
    trust: Any = None
    paths: Paths = field(default_factory=Paths)


@dataclass
class Evaluate:
    """What ``darkroom evaluate`` reads."""

    checkpoint: str | None = None
    samples: str | None = None
    data: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    split: Annotated[str, OneOf("train", "val", "test")] = "test"
    sampler: str | None = None
    seed: Seed | None = None
    output: str | None = None
    trust: Any = None
    paths: Paths = field(default_factory=Paths)


@dataclass
class Generate:
    """What ``darkroom generate`` reads."""

    checkpoint: str = "latest"
    count: Count = 64
    seed: Seed = 0
    labels: Any = None
    prompt: Any = field(default=None, metadata=_TEXTS)
    output: str | None = None
    sampler: str | None = None
    truncation: Annotated[float, Range(0, 10, open_low=True)] = 1.0
    trust: Any = None


@dataclass
class Compare:
    """What ``darkroom compare`` reads."""

    runs: list[str] | None = None
    within: str | None = None
    format: Annotated[str, OneOf("table", "json", "html")] = "table"
    output: str | None = None


@dataclass
class Report:
    """What ``darkroom report`` reads."""

    runs: list[str] | None = None
    within: str | None = None
    limit: Count = 200
    title: str | None = None
    megabytes: Positive = 6.0
    output: str = "report.html"


@dataclass
class Dashboard:
    """What ``darkroom dashboard`` reads."""

    port: Annotated[int, Range(1, 65_535)] = 5000
    serve: bool = True


@dataclass
class Check:
    """What ``darkroom check`` reads."""

    folder: str | None = None


@dataclass
class Reproduce:
    """What ``darkroom reproduce`` reads."""

    run: str = "latest"
    trust: Any = None
    paths: Paths = field(default_factory=Paths)


@dataclass
class Explain:
    """What ``darkroom explain`` reads."""

    checkpoint: str = "latest"
    input: str | None = None
    methods: list[str] = field(default_factory=lambda: ["grad_cam", "integrated_gradients"])
    layer: str | None = None
    target: str | None = None
    count: Count = 8
    images: Count = 64
    steps: Count = 32
    seed: Seed = 0
    output: str | None = None
    trust: Any = None
    paths: Paths = field(default_factory=Paths)


@dataclass
class Audit:
    """What ``darkroom audit`` reads."""

    checkpoint: str = "latest"
    groups: str = "label"
    generators: list[str] | None = None
    data: dict[str, Any] | None = None
    split: Annotated[str, OneOf("train", "val", "test")] = "test"
    images: Count = 10_000
    resamples: Annotated[int, Range(100)] = 1000
    confidence: Annotated[float, Range(0.5, 1, open_high=True)] = 0.95
    tolerance: Share = 0.05
    seed: Seed = 1
    output: str | None = None
    trust: Any = None
    paths: Paths = field(default_factory=Paths)


@dataclass
class Judge:
    """What ``darkroom judge`` reads."""

    features: str | None = None
    data: dict[str, Any] | None = None
    seed: Seed = 0
    output: str | None = None
    trust: Any = None
    paths: Paths = field(default_factory=Paths)


@dataclass
class Edit:
    """What ``darkroom edit`` reads, beside the settings of the operation."""

    operation: dict[str, Any] | None = None
    checkpoint: str | None = None
    input: str | None = None
    output: str | None = None
    format: Annotated[str, OneOf("keep", "png", "jpeg", "webp", "tiff")] = "keep"
    quality: Annotated[int, Range(1, 100)] | None = None
    suffix: str = ""
    overwrite: bool = False
    skip_existing: bool = False
    strength: Share = 1.0
    mask: str | None = None
    mask_invert: bool = False
    mask_grow: Whole = 0
    mask_feather: Whole = 0
    tile: Any = "auto"
    self_ensemble: bool = False
    device: str = "auto"
    reference: str | None = None
    self_test: bool | None = None
    compare: bool = False
    report: str | None = None
    track: bool = True
    pictures: Whole = 8
    seed: Seed = 0
    trust: Any = None
    paths: Paths = field(default_factory=Paths)


SCHEMAS: dict[str, type] = {
    "train": Train,
    "evaluate": Evaluate,
    "generate": Generate,
    "edit": Edit,
    "compare": Compare,
    "report": Report,
    "dashboard": Dashboard,
    "check": Check,
    "reproduce": Reproduce,
    "explain": Explain,
    "audit": Audit,
    "prepare": Prepare,
    "judge": Judge,
    "sweep": Sweep,
}
