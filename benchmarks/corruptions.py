"""Corrupting pictures, against the library imagecorruptions-imaug, kind by kind.

Both in one process, interleaved, CPU time, one thread, median of paired ratios over 64 pictures of 64 x 64 in colour
and the severities 1, 3 and 5. Run: pip install imagecorruptions-imaug && python benchmarks/corruptions.py

Goal: the fifteen kinds together at least three times as fast.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import warnings
from statistics import median

import numpy as np
import torch
from _timing import clocked

from steelyard_stability.corruptions import _blurs, _digital, _noises, _weather
from steelyard_stability.corruptions._dice import Dice
from steelyard_stability.corruptions.kinds import IMAGE

COUNT, SIDE, SEVERITIES, ROUNDS = 64, 64, (1, 3, 5), 5
KINDS = {kind: vars(one)[kind] for one in (_noises, _blurs, _weather, _digital) for kind in IMAGE if kind in vars(one)}


def main() -> None:
    try:
        import imagecorruptions
    except ImportError:
        print("skipped: pip install imagecorruptions-imaug")
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    images = torch.rand(COUNT, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    arrays = [*(images.permute(0, 2, 3, 1) * 255).byte().numpy()]
    sums: list[tuple[float, float]] = []
    for kind in IMAGE:
        pairs: list[tuple[float, float]] = []
        for turn in range(ROUNDS + 1):
            np.random.seed(turn)

            def ours(kind: str = kind) -> None:
                for severity in SEVERITIES:
                    dice = Dice(0, kind=kind, severity=severity, numbers=range(COUNT))
                    KINDS[kind](images, severity, dice).clamp(0, 1)

            def theirs(kind: str = kind) -> None:
                for severity in SEVERITIES:
                    for array in arrays:
                        imagecorruptions.corrupt(array, corruption_name=kind, severity=severity)

            times = clocked(ours), clocked(theirs)
            if turn:  # the first one warms up, and compiles what the library compiles
                pairs.append(times)
        ratio = median(their / our for our, their in pairs)
        sums.append((median(our for our, _ in pairs), median(their for _, their in pairs)))
        print(
            f"{kind:18} {1e3 * sums[-1][0]:8.1f} ms, the library {1e3 * sums[-1][1]:8.1f} ms: {ratio:6.2f} times",
            flush=True,
        )
    whole = sum(their for _, their in sums) / sum(our for our, _ in sums)
    print(f"all kinds together: {whole:.2f} times as fast")


if __name__ == "__main__":
    main()
