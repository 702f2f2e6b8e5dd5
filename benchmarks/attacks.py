"""Attacks and smoothing: what leaving early, reuse over radii and batches save, and torchattacks beside them.

One process, interleaved, CPU time, one thread, median of paired ratios over 5 rounds; a CNN on the real digits at 16 x
16 pixels, 128 test examples, 40 steps. Run: python benchmarks/attacks.py, with torchattacks where it is installed
(pip install --no-deps torchattacks).

Goals: leaving early at least 1.5 times as fast at 70 % robust (more than 1 / 0.7 = 1.43 there can be only because those
that stand leave, too, once they go in a circle) and 4 times at 20 %; at equal settings without it no slower than
torchattacks; a curve of 7 radii at least 1.7 times as fast as 7 whole attacks; the automatic micro-batch
within 15 % of the best; smoothing in batches at least 20 times as fast as one draw after the other, noise and counting
on both sides. Beside it stands the most that batches could save on that model, that of bare forward passes, which is
little where a convolution takes most of the time of a single example already; and the time of smoothing over that of
its forward passes. What a user gets is a whole certificate, whose looks end once every radius is decided, against the
loop of 10,100 single draws that decides the same (timed by 512 of them).
"""

import ctypes
import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"
if sys.platform == "linux":
    # glibc gives large pieces back and takes them anew as it happens, which makes one and the same attack up to 1.7
    # times as slow in one round as in the next. Here it keeps them (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD), for all sides.
    for parameter in (-3, -1):
        ctypes.CDLL(None).mallopt(parameter, 1 << 30)

from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import torch
from _timing import clocked, ratio, told
from sklearn.datasets import load_digits
from torch import Tensor, nn

from steelyard_stability._certified import decisions
from steelyard_stability._smoothing import certify
from steelyard_stability.attacks import (
    Attack,
    Ball,
    ClassAim,
    Norm,
    Plan,
    Scene,
    Steps,
    best_batch,
    cascade,
    curve,
    pgd,
)
from steelyard_stability.attacks.tuning import SIZES

COUNT, STEPS, ROUNDS, CLOSE, BATCH, DRAWS = 128, 40, 5, 25, 64, 512
SMOOTHED = 1000, 512
"""Draws between two looks, and how many of them the model sees at once, as `stability=certified` has it."""
SHARES = ((0.7, 1.5), (0.2, 4.0))
RADII = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.14)
SAVING = Plan(attacks=[Attack.FGSM, Attack.PGD], steps=STEPS, restarts=0)
"""As a run attacks: one long step first, then small ones from the clean input on what still stands."""


def digits() -> tuple[Tensor, Tensor]:
    found: Any = load_digits()
    images = torch.tensor(found.images / 16, dtype=torch.float32)[:, None]
    return nn.functional.interpolate(images, size=(16, 16), mode="bilinear"), torch.tensor(found.target)


def fitted(inputs: Tensor, targets: Tensor) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2048, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(5):
        for rows in torch.randperm(len(inputs)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[rows]), targets[rows]).backward()
            optimizer.step()
    return model.eval().requires_grad_(False)


def scene(model: nn.Module, inputs: Tensor) -> Scene:
    return Scene(
        aim=ClassAim.of(lambda given, rows: model(given), model(inputs)),
        centre=inputs,
        numbers=torch.arange(len(inputs)),
        ball=Ball(norm=Norm.LINF, radius=0.1, bounds=(0.0, 1.0)),
        batch=BATCH,
    )


def at(place: Scene, radius: float) -> Scene:
    return replace(place, ball=replace(place.ball, radius=radius))


def attacked(place: Scene, radius: float, *, early: bool) -> Tensor:
    return pgd(at(place, radius), torch.arange(COUNT), place.centre, steps=Steps(count=STEPS, early=early)).fooled


def radius_for(place: Scene, share: float) -> float:
    """The radius at which about this share stands, by bisection."""
    low, high = 0.0, 0.5
    for _ in range(9):
        middle = (low + high) / 2
        stands = 1 - float(attacked(place, middle, early=True).double().mean())
        low, high = (middle, high) if stands > share else (low, middle)
    return high


def compare_leaving(place: Scene, share: float, goal: float) -> None:
    radius = radius_for(place, share)
    slow, fast = partial(attacked, place, radius, early=False), partial(attacked, place, radius, early=True)
    saving = partial(cascade, at(place, radius), SAVING)
    missed = int((slow() & ~saving().fooled).sum())
    stands = 1 - float(fast().double().mean())
    told(f"PGD, leaving early, at {stands:.0%} robust (radius {radius:.3f})", ratio(slow, fast), goal)
    told(f"one long step first, then PGD on the rest; {missed} examples missed", ratio(slow, saving), goal)


def compare_libraries(place: Scene, model: nn.Module, targets: Tensor, radius: float) -> None:
    try:
        import torchattacks
    except ImportError:
        print("torchattacks is not here: pip install --no-deps torchattacks")
        return
    library: Any = torchattacks
    theirs = library.PGD(model, eps=radius, alpha=radius / 4, steps=STEPS, random_start=False)
    parts = [*zip(place.centre.split(BATCH), targets.split(BATCH), strict=True)]

    def slow() -> list[Tensor]:
        # The same end: who was fooled.
        return [model(theirs(given, target)).argmax(dim=1) != target for given, target in parts]

    plain = ratio(slow, partial(attacked, place, radius, early=False), rounds=CLOSE)
    told(f"PGD without leaving early, against torchattacks ({CLOSE} pairs)", plain, 1)
    told("PGD, leaving early, against torchattacks", ratio(slow, partial(attacked, place, radius, early=True)), 1.5)


def compare_curve(place: Scene) -> None:
    whole, full = partial(curve, place, RADII, SAVING), [partial(attacked, place, one, early=False) for one in RADII]
    alone = [partial(curve, place, [radius], SAVING) for radius in RADII]
    told("curve of 7 radii by halving, against 7 whole attacks", ratio(lambda: [act() for act in full], whole), 1.7)
    print(f"the same against 7 attacks that leave early: {ratio(lambda: [act() for act in alone], whole):.2f}")


def compare_batches(place: Scene) -> None:
    """PGD at every size, interleaved, and at the size that the tuning picks in each round."""
    times: dict[int, list[float]] = {size: [] for size in SIZES if size <= COUNT}
    picked: list[int] = []
    for _ in range(ROUNDS + 1):
        picked.append(best_batch(place))
        for size, found in times.items():
            found.append(clocked(partial(attacked, replace(place, batch=size), 0.1, early=False)))
    best = min(median(found[1:]) for found in times.values())
    worst = max(median(times[size][1:]) for size in picked[1:])
    names = ", ".join(f"{size}: {1e3 * median(found[1:]) / COUNT / STEPS:.3f} ms" for size, found in times.items())
    print(f"a look at one example by micro-batch: {names}; picked {', '.join(map(str, picked[1:]))}")
    told("the worst micro-batch that was picked, over the best", worst / best, 1.15, least=False)


def compare_smoothing(name: str, model: nn.Module, clean: Tensor) -> None:
    """As the plugin draws, against one draw after the other, and against nothing but forward passes."""
    stream = torch.Generator().manual_seed(0)
    count, batch = SMOOTHED
    copies = clean + 0.25 * torch.randn(count, *clean.shape, generator=stream)

    @torch.no_grad()
    def bare(size: int) -> list[Tensor]:
        return [model(part) for part in copies.split(size)]

    @torch.no_grad()
    def drawn() -> Tensor:
        return decisions(model, clean, count=count, sigma=0.25, generator=stream, batch=batch)

    @torch.no_grad()
    def alone() -> list[int]:
        one = (clean + 0.25 * torch.randn(clean.shape, generator=stream) for _ in range(count))
        return [int(model(copy[None]).argmax(dim=1)) for copy in one]

    told(f"smoothing the {name} in batches, against one by one", ratio(alone, drawn, rounds=CLOSE), 20)
    most, over = ratio(partial(bare, 1), partial(bare, batch)), ratio(drawn, partial(bare, batch))
    print(f"the same of forward passes alone: {most:.2f}; smoothing takes {over:.2f} times as long as those")


def compare_certificates(model: nn.Module, clean: Tensor) -> None:
    """By the defaults of `stability=certified`."""
    stream = torch.Generator()
    looks, selection, sigma = (100, 1000, 10000), 100, 0.25
    drawn: list[int] = []

    @torch.no_grad()
    def decided(one: Tensor, count: int) -> Tensor:
        return decisions(model, one, count=count, sigma=sigma, generator=stream, batch=SMOOTHED[1])

    def staged() -> None:
        stream.manual_seed(0)
        drawn.clear()
        for one in clean:
            own = decided(one, selection).bincount().argmax()
            found = certify(
                lambda more, one=one, own=own: int((decided(one, more) == own).sum()),
                looks=looks,
                radii=(0.1, 0.25, 0.5),
                sigma=sigma,
                alpha=0.001,
            )
            drawn.append(selection + found.draws)

    @torch.no_grad()
    def alone() -> Tensor:
        counts = torch.zeros(10, dtype=torch.long)
        for draw in range(DRAWS):
            one = clean[draw % len(clean)]
            counts[model((one + sigma * torch.randn_like(one))[None]).argmax(dim=1)] += 1
        return counts

    whole = (selection + looks[-1]) * len(clean) / DRAWS
    found = whole * ratio(alone, staged)
    told(f"a certificate of the CNN, {sum(drawn) / len(drawn):.0f} draws, against a loop of all", found, 20)


def main() -> None:
    torch.set_num_threads(1)
    inputs, targets = digits()
    model = fitted(inputs[:1200], targets[:1200])
    place = scene(model, inputs[-COUNT:])
    for share, goal in SHARES:
        compare_leaving(place, share, goal)
    compare_libraries(place, model, model(place.centre).argmax(dim=1), radius_for(place, 0.7))
    compare_curve(place)
    compare_batches(place)
    compare_smoothing("CNN", model, place.centre[0])
    compare_certificates(model, place.centre[:16])
    perceptron = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10)).requires_grad_(False)
    compare_smoothing("MLP", perceptron, place.centre[0])


if __name__ == "__main__":
    main()
