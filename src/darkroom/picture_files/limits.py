"""How large a picture may be: looked at in the header, before anything is decoded."""

import warnings

from PIL import Image

from darkroom.picture_files.picture import Unfit

MOST_PIXELS = 500_000_000
BELIEVED = 64_000_000  # pixels that a file of any length may have
DENSEST = 20_000  # pixels that a byte may stand for in larger ones; a blank PNG has 1,000 to 8,000

# What is written here is read again: Pillow's own limit is lower. It warns above it, where a sentence is said here.
Image.MAX_IMAGE_PIXELS = MOST_PIXELS
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def check(size: tuple[int, int], content: int, sample_bytes: int = 3) -> None:
    """Refuse a header that promises more pixels than are read here, or than so many bytes of content can hold.

    Raises:
        Unfit: it does.
        ValueError: it promises none.
    """
    width, height = size
    pixels = width * height
    if width < 1 or height < 1:
        raise ValueError(f"its header says that it has {width}x{height} pixels")
    if pixels > MOST_PIXELS:
        raise Unfit(
            f"says that it has {width}x{height} pixels, {pixels / 1e6:,.0f} megapixels that would take"
            f" {pixels * sample_bytes / 1e9:.1f} GB of memory: at most {MOST_PIXELS // 1_000_000} megapixels are read,"
            " so make it smaller or cut it into parts"
        )
    if pixels > BELIEVED and pixels > content * DENSEST:
        raise Unfit(
            f"says that it has {width}x{height} pixels, but its {content:,} bytes cannot hold so many: it is damaged,"
            " or made to fill the memory"
        )
