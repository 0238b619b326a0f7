"""The sizes a picture has on the way from a few pixels to its own, and back."""

from collections.abc import Sequence

from darkroom.errors import UserError

Size = tuple[int, int]  # height, width


def sizes(image_shape: Sequence[int], network: str, halvings: int | None = None) -> list[Size]:
    """Return ``[full, half, quarter, ...]`` as (height, width), each the half of the one before, rounded up.

    So often halved as asked, or until the smaller side is below 8 pixels. Raises `UserError`, which names the
    ``network``, where nothing would be left to convolve: below 8 pixels.
    """
    _, height, width = image_shape
    smaller = min(height, width)
    if smaller < 8:
        raise UserError(
            f"Pictures of {smaller} pixels are too small for {network}, which needs 8: type data.image_size=8 or more."
        )
    if halvings is None:
        halvings = (smaller // 4).bit_length() - 1
    return [(-(-height // 2**times), -(-width // 2**times)) for times in range(halvings + 1)]


def doubled(width: int, count: int, most: int) -> list[int]:
    """Return the channels of ``count`` stages, the one of most pixels first: doubling, up to ``most`` times width."""
    return [width * min(2**index, most) for index in range(count)]
