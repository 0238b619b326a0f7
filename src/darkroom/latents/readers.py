"""Who can say what a picture shows, so that it can be told what an edit of its latents changes."""

from darkroom.data.module import ImageData
from darkroom.errors import UserError
from darkroom.images import evenly
from darkroom.judges.eye import Eye
from darkroom.latents.leakage import Moments, Named, Reader
from darkroom.metrics.metric import Metric, judged

KNOWN = 1000  # training pictures that the knots of stroke and slant are taken from


def read_by(data: ImageData, metrics: Metric) -> list[Reader]:
    """Return who can say what a picture shows."""
    style = style_of(data)
    if (seen := judged(metrics)) is None:
        return [style]
    try:
        if (eye := Eye.of(data, seen.cache)) is not None:
            return [Named.by_eye(eye)]
    except UserError:
        pass  # it cannot read pictures as small as these; the judge may do
    judge = seen.extractor(data)
    named = judge.class_names and judge.class_names == list(data.class_names)
    return [Named.by_judge(judge), style] if named else [style]


def style_of(data: ImageData) -> Moments:
    """Return who measures stroke and slant, beside those of training pictures."""
    shown = data.pictures("train")
    return Moments.of(shown.batch(evenly(len(shown), KNOWN)))
