"""Twelve bugs are each caught in every seed, by controls whose thresholds were fixed before; no correct build is."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import ModelCheckpoint
from scipy.stats import binom, kstest
from torch import Tensor

from private_runs import Fitted, Task, data, fit
from steelyard_privacy import _choice, _dp_sgd, _draw_test, _engine, _sampling
from steelyard_privacy._batches import take
from steelyard_privacy._controls import FALSE_ALARM, TESTS, Controls, NoiseControl
from steelyard_privacy._draw_test import DrawTest
from steelyard_privacy._noise_test import FEW, WINDOW, NoiseTest
from steelyard_privacy._noise_watch import NoiseWatch
from steelyard_privacy._sensitivity import Clipped, sensitivity
from steelyard_privacy._sums import Layout
from steelyard_privacy.dp_sgd import DPSGD

ROWS, BATCH, EPOCHS = 64, 16, 6
CPU = torch.device("cpu")
Inject = Callable[[pytest.MonkeyPatch], None]


def trained(seed: int, folder: Path, **options: Any) -> Fitted:
    """24 steps, cut in pieces, with noise that differs from seed to seed."""
    torch.manual_seed(seed)
    settings = {"noise_multiplier": 1.0, "target_epsilon": None, "noise_seed": seed, "max_physical_batch_size": 7}
    plugin = DPSGD(**{**settings, **options}, ledger=folder / f"{seed}.jsonl")
    return fit(plugin, Task(), data(ROWS, batch_size=BATCH), max_epochs=EPOCHS)


def complaints(fitted: Fitted) -> list[str]:
    attachment = fitted.attachment
    return attachment._controls.complaints(steps=attachment._account.steps, seal=attachment._sealed())


# The bugs. Each is put in where a programmer would have made it.


def noise(change: Callable[[Tensor, float], Tensor]) -> Inject:
    """What `privatised` gives: (sum + change(noise, batch size)) / batch size."""

    def inject(patch: pytest.MonkeyPatch) -> None:
        right = _dp_sgd.privatised

        def wrong(total: Tensor, *, batch_size: float, **others: Any) -> Tensor:
            fresh = right(torch.zeros_like(total), batch_size=1.0, **others)
            return (total + change(fresh, batch_size)) / batch_size

        patch.setattr(_dp_sgd, "privatised", wrong)

    return inject


def one_without_noise(fresh: Tensor, batch_size: float) -> Tensor:
    """The last bias."""
    fresh[-3:] = 0
    return fresh


def reused(patch: pytest.MonkeyPatch) -> None:
    kept: list[Tensor] = []

    def same(fresh: Tensor, batch_size: float) -> Tensor:
        kept.append(fresh)
        return kept[0]

    noise(same)(patch)


def weights_of(change: Callable[[Tensor, float], Tensor]) -> Inject:
    def inject(patch: pytest.MonkeyPatch) -> None:
        def wrong(norms: Tensor, *, max_norm: float) -> Tensor:
            return change(norms, max_norm)

        patch.setattr(_engine, "coefficients", wrong)

    return inject


def clipped(change: Callable[[list[Tensor], Layout, float], Tensor]) -> Inject:
    """Another way from the gradients of the examples to the clipped sum."""

    def inject(patch: pytest.MonkeyPatch) -> None:
        def wrong(self: Any, sums: Any, batch: Any, *, count: int, objective: Any, max_norm: float) -> Tensor:
            pieces = (take(batch, slice(place, place + 1)) for place in range(count))
            each = [flat(sums.layout, objective(piece)) for piece in pieces]
            sums.total().add_(change(each, sums.layout, max_norm))
            return torch.stack([gradient.norm() for gradient in each])

        patch.setattr(_choice.Choice, "add_clipped", wrong)

    return inject


def flat(layout: Layout, loss: Tensor) -> Tensor:
    found = layout.gradients(loss)
    return torch.cat([found.get(one, torch.zeros_like(one)).flatten() for one in layout.parameters])


def factor(vector: Tensor, max_norm: float) -> float:
    return min(1.0, max_norm / (float(vector.norm()) + 1e-30))


def of_the_mean(each: list[Tensor], layout: Layout, max_norm: float) -> Tensor:
    mean = torch.stack(each).mean(dim=0)
    return len(each) * mean * factor(mean, max_norm)


def by_layer(each: list[Tensor], layout: Layout, max_norm: float) -> Tensor:
    sizes = [weight.numel() for weight in layout.parameters]
    return sum(torch.cat([part * factor(part, max_norm) for part in one.split(sizes)]) for one in each)


def one_left_out(each: list[Tensor], layout: Layout, max_norm: float) -> Tensor:
    """The last layer's weights are neither counted in the norm nor clipped."""
    return sum(torch.cat([one[:-27] * factor(one[:-27], max_norm), one[-27:]]) for one in each)


def draws(change: Callable[[int, float, np.random.Generator], NDArray[np.int64]]) -> Inject:
    def inject(patch: pytest.MonkeyPatch) -> None:
        def wrong(population: int, *, rate: float, generator: np.random.Generator) -> NDArray[np.int64]:
            return change(population, rate, generator)

        patch.setattr(_sampling, "poisson_draw", wrong)

    return inject


def twice_as_often(population: int, rate: float, generator: np.random.Generator) -> NDArray[np.int64]:
    return np.flatnonzero(generator.random(population) < 2 * rate)


def shuffled(patch: pytest.MonkeyPatch) -> None:
    left: list[int] = []

    def next_ones(population: int, rate: float, generator: np.random.Generator) -> NDArray[np.int64]:
        size = round(population * rate)
        if len(left) < size:
            left[:] = generator.permutation(population).tolist()
        batch, left[:] = left[:size], left[size:]
        return np.array(sorted(batch))

    draws(next_ones)(patch)


def cut_batches_are_free(patch: pytest.MonkeyPatch) -> None:
    right = _dp_sgd.PrivateTraining.on_before_optimizer_step

    def wrong(self: Any, *others: Any) -> None:
        right(self, *others)
        if self._loader.drawn > self._plugin.max_physical_batch_size:
            self._account = replace(self._account, steps=self._account.steps - 1)

    patch.setattr(_dp_sgd.PrivateTraining, "on_before_optimizer_step", wrong)


BUGS: dict[str, Inject] = {
    "no noise": noise(lambda fresh, batch_size: 0 * fresh),
    "half the noise": noise(lambda fresh, batch_size: fresh / 2),
    "noise divided by the batch twice": noise(lambda fresh, batch_size: fresh / batch_size),
    "no clipping": weights_of(lambda norms, max_norm: torch.ones_like(norms)),
    "clipping after averaging": clipped(of_the_mean),
    "clipping layer by layer": clipped(by_layer),
    "one parameter left out of clipping": clipped(one_left_out),
    "one parameter left out of the noise": noise(one_without_noise),
    "a wrong sampling rate": draws(twice_as_often),
    "shuffling instead of Poisson sampling": shuffled,
    "noise used again in every step": reused,
    "steps of cut batches not accounted for": cut_batches_are_free,
}


@pytest.mark.parametrize("bug", ["half the noise", "clipping layer by layer", "shuffling instead of Poisson sampling"])
def test_a_bug_is_caught(bug: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    BUGS[bug](monkeypatch)
    assert complaints(trained(0, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("bug", [*BUGS])
def test_a_bug_is_caught_in_ten_of_ten_seeds(bug: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    BUGS[bug](monkeypatch)
    assert all(complaints(trained(seed, tmp_path)) for seed in range(10))


@pytest.mark.slow
def test_a_correct_build_is_accused_in_none_of_fifty_seeds(tmp_path: Path) -> None:
    assert [found for seed in range(50) for found in complaints(trained(seed, tmp_path))] == []


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_delta_changed_on_resume_is_caught(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever takes up the account under other terms is found out by the seal."""
    options = {"noise_multiplier": 1.0, "target_epsilon": None, "ledger": tmp_path / "ledger.jsonl"}
    keeper = ModelCheckpoint(dirpath=tmp_path, save_last=True, save_top_k=0)
    fit(DPSGD(**options), Task(), data(ROWS), callbacks=(keeper,), enable_checkpointing=True)
    right = _dp_sgd.PrivateTraining.load_state_dict

    def wrong(self: Any, state_dict: dict[str, Any]) -> None:
        right(self, {**state_dict, "delta": self._plan.mechanism.delta})

    checkpoint = tmp_path / "last.ckpt"
    honest = fit(DPSGD(**options), Task(), data(ROWS), ckpt_path=checkpoint, max_epochs=2)
    assert complaints(honest) == []
    monkeypatch.setattr(_dp_sgd.PrivateTraining, "load_state_dict", wrong)
    forged = fit(DPSGD(**options, delta=1e-3), Task(), data(ROWS), ckpt_path=checkpoint, max_epochs=2)
    assert any("other terms" in complaint for complaint in complaints(forged))


def test_the_scorecard_says_what_the_controls_saw(tmp_path: Path) -> None:
    fitted = trained(1, tmp_path)
    controls = fitted.attachment._controls
    found = {row.name: row for row in controls.measurements(complaints(fitted))}
    assert found["controls_failed"].value == 0
    assert found["sensitivity"].value == pytest.approx(1, abs=1e-3)
    low, high = found["drawn_rate"].interval
    assert low < BATCH / ROWS < high
    assert found["drawn_rate"].count == 24 * ROWS


def test_a_complaint_makes_the_promise_invalid(tmp_path: Path) -> None:
    fitted = trained(2, tmp_path)
    fitted.attachment._controls.steps_taken += 1
    row = next(iter(fitted.attachment.measure(_run())))
    assert (row.name, row.status.value) == ("epsilon", "invalid")
    assert "25 steps were taken and 24" in row.note


def _run() -> Any:
    from small_runs import TABLE, frozen

    return frozen(Task(), data(), adapter=TABLE)


# The statistics alone.


def test_tests_of_draws_have_the_promised_distribution() -> None:
    """On correct draws the chances are not too often small; the discrete ones may only be larger."""
    generator = np.random.default_rng(0)
    found: dict[str, list[float]] = {}
    for _ in range(120):
        test = DrawTest(population=200, rate=0.1)
        for _ in range(20):
            test.add(np.flatnonzero(generator.random(200) < 0.1))
        for name, chance in test.chances().items():
            found.setdefault(name, []).append(chance)
    assert len(found) == 3
    for chances in found.values():
        assert kstest(chances, "uniform", alternative="greater").pvalue > 1e-3


def test_tests_of_noise_have_the_promised_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    found: dict[str, list[float]] = {}
    for _ in range(120):
        test = NoiseControl()
        test.begin((70, 0, 20), CPU)
        for _ in range(8):
            test.add(torch.randn(90, generator=generator) * 3.0, scale=3.0)
        for name, chance in test.chances().items():
            found.setdefault(name, []).append(chance)
    assert len(found) == 2
    for chances in found.values():
        assert kstest(chances, "uniform", alternative="greater").pvalue > 1e-3


@pytest.mark.parametrize("size", [90, FEW + 500, WINDOW + 500])
def test_noise_is_watched_where_it_is_added_in_place(size: int) -> None:
    """What the tests see is the noise, whatever it is added to."""
    watch, control = NoiseWatch(right := NoiseControl()), NoiseControl()
    sizes, test = (70, size - 70), NoiseTest()
    control.begin(sizes, CPU)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        total, noise = (3 * torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(2))
        watch.before(total, sizes=sizes)
        window = test.window(size)
        watch.after(total.add_(noise).div_(7), batch_size=7.0, scale=3.0)
        control.add(-noise if size <= FEW else -control.picked(noise), scale=3.0)
        test.add(-noise[window], scale=3.0)
    assert right.chances() == pytest.approx(control.chances(), rel=1e-6)
    assert test.failed() == watch.test.failed() is False
    assert watch.test._squares == pytest.approx(test._squares, rel=1e-9)
    assert watch.test._count == test._count


def test_draws_are_counted_the_same_at_once_and_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    draws = [np.flatnonzero(generator.random(50) < 0.2) for _ in range(9)]

    def chances() -> dict[str, float]:
        test = DrawTest(population=50, rate=0.2)
        for drawn in draws:
            test.add(drawn)
        assert test.drawn.examples == sum(map(len, draws))
        return test.chances()

    at_once = chances()
    monkeypatch.setattr(_draw_test, "KEPT", 1)
    assert chances() == pytest.approx(at_once)
    again = [len(np.intersect1d(one, other)) for one, other in pairwise(draws)]
    asked = sum(map(len, draws[:-1]))
    tails = binom.cdf(sum(again), asked, 0.2), binom.sf(sum(again) - 1, asked, 0.2)
    name = "the rate at which an example is drawn again in the next step"
    assert at_once[name] == pytest.approx(min(1.0, 2 * min(tails)))


def test_few_batches_of_just_the_expected_size_accuse_nobody_and_many_do() -> None:
    few, many = (DrawTest(population=96, rate=1 / 3) for _ in range(2))
    random = np.random.default_rng(0)
    for test, draws in ((few, 2), (many, 40)):
        for _ in range(draws):
            test.add(np.sort(random.choice(96, size=32, replace=False)))
    assert few.chances()["the spread of the sizes of the batches"] > 0.01
    assert many.chances()["the spread of the sizes of the batches"] < 1e-9


def test_the_family_keeps_its_false_alarm() -> None:
    """Five tests here and the one of all the noise together."""
    assert len({**DrawTest(population=9, rate=0.5).chances(), **_asked(NoiseControl()).chances()}) <= TESTS - 1
    assert FALSE_ALARM == 1e-4


def _asked(control: NoiseControl) -> NoiseControl:
    control.begin((5,), CPU)
    for seed in range(3):
        control.add(torch.randn(5, generator=torch.Generator().manual_seed(seed)), scale=1.0)
    return control


def test_noise_begins_anew_where_other_weights_are_trained() -> None:
    control = _asked(NoiseControl())
    control.begin((2, 2), CPU)
    control.add(torch.ones(4), scale=1.0)
    assert control.chances().keys() == {"the size of the noise of one parameter"}


@pytest.mark.parametrize("norms", [[0.0, 1.0], [math.nan, 1.0], [1.0]])
def test_a_batch_that_cannot_tell_is_passed_over(norms: list[float]) -> None:
    def clip(batch: Any, *, count: int, max_norm: float, anew: bool) -> Clipped:
        return Clipped(torch.zeros(3), torch.tensor(norms))

    assert sensitivity(clip, [torch.ones(len(norms), 2)], count=len(norms), task=Task()) is None


def test_without_training_no_control_complains() -> None:
    assert Controls(population=10, rate=0.5).complaints(steps=0, seal="") == []
