"""Random numbers by their place alone: number i can be had without the numbers before it."""

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio


def uniform(seed: int, indices: NDArray[np.int64], stream: int) -> NDArray[np.float64]:
    """Return one number in [0, 1) per index, a pure function of (seed, index, stream).

    SplitMix64 (Steele, Lea and Flood 2014) of a counter: random access, whole arrays at once, equal on every machine.
    """
    with np.errstate(over="ignore"):  # wrapping round at 2^64 is what is meant
        start = _mixed(np.array([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64) + np.uint64(stream + 1) * GOLDEN)
        bits = _mixed(start + (indices.astype(np.uint64) + np.uint64(1)) * GOLDEN)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return 64 bits stirred so that neighbouring numbers have nothing in common."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
