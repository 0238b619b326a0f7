"""How much faster pixels are drawn when what is known of earlier ones is kept: both ways in one process, in turns.

    python -m benchmarks.drawing                     28x28, black and white, a block of 64 pictures
    python -m benchmarks.drawing row_lstm            this network only

The slow way computes everything again for every pixel; since all its pixels cost the same, only some are computed, and
the time is multiplied. Prints the median of the ratios, and whether both drew the same pixels.
"""

import statistics
import sys
import time

import torch
from torch import Tensor

from darkroom.config.composing import compose
from darkroom.config.parts import build
from darkroom.errors import UserError, did_you_mean
from darkroom.images import evenly
from darkroom.networks.autoregressive import Autoregressive, picked

SIZE = (28, 28)
LEVELS = 2
BLOCK = 64  # pictures drawn at once, as everywhere in the lab
NETWORKS = ("gated_pixelcnn", "row_lstm", "code_prior")
COMPUTED = 56  # pixels that the slow way is timed on, evenly chosen
TURNS = 3


def network_of(name: str) -> Autoregressive:
    """Return a network as conf/network has it, with new weights."""
    config = compose("train", ["model=pixelrnn", f"network@model.network={name}"])
    torch.manual_seed(0)
    made = build(config["model"]["network"], size=SIZE, codes=LEVELS)
    assert isinstance(made, Autoregressive)
    return made.eval()


@torch.no_grad()
def slowly(network: Autoregressive, codes: Tensor, numbers: Tensor, places: list[int]) -> list[Tensor]:
    """Return what is drawn at some places, each time from the whole picture so far."""
    made = []
    for place in places:
        so_far = codes.clone()
        so_far[:, place:] = 0
        made.append(picked(network(so_far)[:, place], numbers[:, place]))
    return made


def main() -> None:
    """Measure in turns and print."""
    chosen = sys.argv[1:] or list(NETWORKS)
    for name in chosen:
        if name not in NETWORKS:
            raise UserError(f"There is no network '{name}' of pixels{did_you_mean(name, list(NETWORKS))}.")
    torch.set_num_threads(1)
    count = SIZE[0] * SIZE[1]
    numbers = torch.rand(BLOCK, count, generator=torch.Generator().manual_seed(0))
    places = evenly(count, COMPUTED).tolist()
    for name in chosen:
        network, ratios, same = network_of(name), [], True
        for _ in range(TURNS):
            started = time.process_time()
            codes = network.sample(numbers)
            fast = time.process_time() - started
            started = time.process_time()
            made = slowly(network, codes, numbers, places)
            slow = (time.process_time() - started) * count / COMPUTED
            ratios.append(slow / fast)
            same &= all(torch.equal(drawn, codes[:, place]) for place, drawn in zip(places, made, strict=True))
            print(f"{name}: {fast:.2f} s for {BLOCK} pictures, computed again for each pixel {slow:.0f} s")
        agreed = "the same pixels" if same else "DIFFERENT PIXELS"
        print(f"{name}: median ratio {statistics.median(ratios):.0f} (from {min(ratios):.0f}), {agreed}")


if __name__ == "__main__":
    main()
