import math
import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from small_runs import TABLE, Points, bits, digits, digits_task, flags, frozen, same_bits, streams, table_task, train
from steelyard.measurement import Measurement, Status
from steelyard.measuring import looking
from steelyard.runs import Run
from steelyard_stability import Noise
from steelyard_stability._noise import NoiseAttachment

WIDE = replace(TABLE, bounds=(-100.0, 100.0))


def told(run: Run, plugin: Noise | None = None) -> list[Measurement]:
    rows = list(NoiseAttachment(plugin or Noise()).measure(run))
    assert all(isinstance(row, Measurement) for row in rows)
    return [row for row in rows if isinstance(row, Measurement)]


def curve(rows: list[Measurement], name: str) -> dict[float, Measurement]:
    return {float(row.at["level"]): row for row in rows if row.name == name}


class Halfplane(nn.Module):
    """Decides 1 on one side of a plane."""

    def __init__(self, normal: list[float], offset: float) -> None:
        super().__init__()
        self.normal = nn.Parameter(torch.tensor(normal))
        self.offset = offset

    def forward(self, inputs: Tensor) -> Tensor:
        score = inputs @ self.normal + self.offset
        return torch.stack([torch.zeros_like(score), score], dim=1)


def cloud(count: int = 3000) -> Tensor:
    spread = torch.tensor([0.5, 2.0, 1.0])
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(1)) * spread


def halfplane_run(inputs: Tensor, **others: Any) -> tuple[Run, Tensor]:
    model = Halfplane([1.0, -0.5, 0.25], 0.3)
    targets = model(inputs)[:, 1].detach() > 0
    return frozen(table_task(model), Points(inputs, targets.long(), batch_size=256), **others), model(inputs)[
        :, 1
    ].detach()


@pytest.mark.parametrize("level", [0.1, 0.5, 2.0])
def test_a_plane_flips_as_often_as_the_normal_distribution_says(level: float) -> None:
    inputs = cloud()
    run, margins = halfplane_run(inputs, adapter=WIDE)

    rows = told(run, Noise(levels=(level,)))

    reach = level * math.sqrt(1.0 + 0.25 + 0.0625)
    expected = float(stats.norm.cdf(-margins.abs().numpy() / reach).mean())
    flips = curve(rows, "flips")[level]
    assert flips.interval is not None
    assert flips.interval[0] < expected < flips.interval[1]
    assert flips.count == 3000
    # All clean decisions are right, so each flip costs one right answer.
    assert curve(rows, "accuracy")[level].value == pytest.approx(1 - (flips.value or 0))
    assert curve(rows, "accuracy_drop")[level].value == pytest.approx(flips.value)


def test_without_a_raw_range_the_level_counts_standard_deviations() -> None:
    inputs = cloud()
    run, margins = halfplane_run(inputs, adapter=TABLE)

    flips = curve(told(run, Noise(levels=(0.5,))), "flips")[0.5]

    weights = torch.tensor([1.0, -0.5, 0.25]) * inputs.std(dim=0, correction=0)
    expected = float(stats.norm.cdf(-margins.abs().numpy() / (0.5 * float(weights.norm()))).mean())
    assert flips.interval is not None
    assert flips.interval[0] < expected < flips.interval[1]
    assert "standard deviations" in flips.note
    assert flips.at_unit == "standard deviations"


def test_noise_stays_in_the_raw_range() -> None:
    seen: list[Tensor] = []

    class Watch(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            seen.append(inputs.clone())
            return torch.stack([inputs[:, 0], 1 - inputs[:, 0]], dim=1)

    inputs = torch.rand(50, 2)
    bounded = replace(TABLE, bounds=(0.0, 1.0))
    told(frozen(table_task(Watch()), Points(inputs, torch.zeros(50).long()), adapter=bounded), Noise(levels=(3.0,)))

    assert min(float(batch.min()) for batch in seen) == 0.0
    assert max(float(batch.max()) for batch in seen) == 1.0


@pytest.fixture(scope="module")
def digits_run() -> Run:
    data = digits()
    return frozen(train(digits_task, data, epochs=5), data)


def test_the_headline_is_the_highest_level(digits_run: Run) -> None:
    rows = told(digits_run, Noise(levels=(0.3, 0.1)))

    assert [row.name for row in rows[:2]] == ["worst_flips", "flips"]
    assert rows[0].value == curve(rows, "flips")[0.3].value
    assert not rows[0].at
    assert "at level 0.3" in rows[0].note
    assert all(row.split == "test" and row.count == 359 for row in rows)


def test_level_zero_is_the_clean_answer(digits_run: Run) -> None:
    rows = told(digits_run)
    clean = digits_run.predict("test")

    assert curve(rows, "flips")[0.0].value == 0
    assert curve(rows, "accuracy_drop")[0.0].value == 0
    assert curve(rows, "accuracy")[0.0].value == pytest.approx(
        float((clean.decisions == clean.targets).double().mean())
    )


def test_more_noise_flips_more(digits_run: Run) -> None:
    flips = [row.value for row in curve(told(digits_run, Noise(levels=(0.1, 0.5, 2.0))), "flips").values()]

    assert flips == sorted(flips, key=lambda value: value or 0)
    assert (flips[-1] or 0) > 0.4


def test_batch_size_changes_nothing() -> None:
    inputs = cloud(200)
    counts = []
    for batch_size in (7, 200):
        run, _ = halfplane_run(inputs, adapter=WIDE)
        data = Points(inputs, torch.zeros(200).long(), batch_size=batch_size)
        counts.append([row.value for row in told(replace(run, data=data))])

    assert counts[0] == counts[1]


def test_a_model_that_draws_random_numbers_is_invalid() -> None:
    class Blurred(Halfplane):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs + 0.01 * torch.randn_like(inputs))

    inputs = cloud(100)
    task = table_task(Blurred([1.0, 0.0, 0.0], 0.0))
    with looking(task):
        rows = told(frozen(task, Points(inputs, torch.zeros(100).long()), adapter=WIDE))

    assert {row.status for row in rows} == {Status.INVALID}
    assert "not deterministic" in rows[0].note


def test_data_outside_its_declared_range_is_invalid() -> None:
    inputs = cloud(100)
    run, _ = halfplane_run(inputs, adapter=replace(TABLE, bounds=(0.0, 1.0)))

    rows = told(run)

    assert {row.status for row in rows} == {Status.INVALID}
    assert "outside the raw range" in rows[0].note


def test_one_answer_to_everything_is_no_stability() -> None:
    class Constant(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.tensor([[0.0, 1.0]]).expand(len(inputs), 2)

    rows = told(frozen(table_task(Constant()), Points(cloud(100), torch.zeros(100).long()), adapter=WIDE))

    assert {row.status for row in rows} == {Status.INVALID}
    assert "decides 1 for every input" in rows[0].note


def test_the_deadline_shortens_and_says_so() -> None:
    inputs = cloud(1000)
    run, _ = halfplane_run(inputs, adapter=WIDE, deadline=time.monotonic())

    row = told(run)[0]

    assert row.count == 256
    assert "first 256 examples" in row.note


def test_measuring_leaves_no_trace_also_when_it_fails(digits_run: Run) -> None:
    task = digits_run.task
    before, state, random_streams = bits(task), flags(task), streams()

    with looking(task):
        told(digits_run)
    assert streams() == random_streams

    def broken(outputs: Tensor, targets: Tensor) -> Tensor:
        torch.rand(1)
        raise RuntimeError("no decision")

    class Broken(type(digits_run.adapter.scoring)):
        decisions = staticmethod(broken)

    bad = replace(digits_run, adapter=replace(digits_run.adapter, scoring=Broken()))
    with pytest.raises(RuntimeError, match="no decision"), looking(task):
        told(bad)

    assert streams() == random_streams
    assert same_bits(bits(task), before)
    assert flags(task) == state


def test_training_is_bit_identical_with_and_without_it() -> None:
    data = digits()
    with_it = train(digits_task, data, callbacks=[NoiseAttachment(Noise())])
    with_streams = streams()
    without = train(digits_task, data)

    assert same_bits(bits(with_it), bits(without))
    assert with_streams == streams()


@pytest.mark.parametrize("levels", [(), (0.0,), (0.1, -0.1)])
def test_levels_that_test_nothing_are_a_problem(levels: tuple[float, ...]) -> None:
    problems = list(Noise(levels=levels).preflight(None))  # type: ignore[arg-type]  # the draft is not read

    assert len(problems) == 1
    assert problems[0].fix == "stability.noise.levels=[0.05,0.1,0.2,0.3]"
    assert not list(Noise().preflight(None))  # type: ignore[arg-type]
