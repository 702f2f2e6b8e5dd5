import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from small_runs import (
    IMAGES,
    TABLE,
    Points,
    bits,
    digits,
    digits_task,
    flags,
    frozen,
    same_bits,
    streams,
    table_task,
    train,
)
from steelyard.adapters import AudioAdapter, ClassScoring, VideoAdapter
from steelyard.measurement import Artefact, Measurement, Picture, Sound, Status
from steelyard.measuring import looking
from steelyard.runs import Run
from steelyard_stability import Corruptions
from steelyard_stability.corruptions._attachment import CorruptionsAttachment


def told(run: Run, **options: Any) -> list[Measurement | Artefact]:
    with looking(run.task):
        return list(CorruptionsAttachment(Corruptions(**options)).measure(run))


def numbers(items: list[Measurement | Artefact]) -> dict[tuple[object, ...], Measurement]:
    return {(item.name, *item.at.values()): item for item in items if isinstance(item, Measurement)}


class Bright(nn.Module):
    """Decides 1 for pictures that are brighter than a threshold."""

    def forward(self, inputs: Tensor) -> Tensor:
        score = (inputs.flatten(start_dim=1).mean(dim=1) - 0.5) * 10
        return torch.stack([-score, score], dim=1)


def greys(*levels: float) -> Points:
    inputs = torch.tensor(levels)[:, None, None, None].expand(-1, 1, 8, 8).contiguous()
    return Points(inputs, (torch.tensor(levels) > 0.5).long())


def test_numbers_are_those_of_a_model_that_can_be_worked_out() -> None:
    # Brightness adds 0.1 to 0.5, so 0.45 changes at every severity, 0.25 from 0.3 on, 0.05 at 0.5 alone.
    run = frozen(table_task(Bright()), greys(0.45, 0.25, 0.05, 0.9), adapter=IMAGES)

    found = numbers(told(run, kinds=("brightness", "contrast")))

    for severity, kept in zip((1, 2, 3, 4, 5), (3, 3, 2, 2, 1), strict=True):
        assert found["unchanged", "brightness", severity].value == kept / 4
        assert found["accuracy", "brightness", severity].value == kept / 4
        assert found["accuracy_drop", "brightness", severity].value == 1 - kept / 4
        # A flat picture has no contrast to lose.
        assert ("unchanged", "contrast", severity) not in found
    mean = (3 + 3 + 2 + 2 + 1) / 20
    assert found["unchanged_mean",].value == pytest.approx(mean)
    assert found["unchanged_worst",].value == pytest.approx(mean)
    assert found["unchanged_always",].value == 0.25
    assert found["accuracy_drop_mean",].value == pytest.approx(1 - mean)
    assert "brightness" in found["unchanged_worst",].note
    assert "nothing to change was found by contrast" in found["unchanged_mean",].note


def test_what_stays_comes_before_what_is_right() -> None:
    names = [
        item.name for item in told(frozen(table_task(Bright()), greys(0.45, 0.9))) if isinstance(item, Measurement)
    ]

    assert names[:4] == ["unchanged_mean", "unchanged_worst", "unchanged_always", "accuracy_mean"]


@pytest.fixture(scope="module")
def digits_run() -> Run:
    data = digits()
    return frozen(train(digits_task, data, epochs=5), data)


SOME = {"kinds": ("gaussian_noise", "fog", "pixelate"), "severities": (1, 5), "examples": 60}


def test_the_size_of_the_batches_changes_nothing(digits_run: Run) -> None:
    batch = digits_run.batch("test", range(60))
    runs = [replace(digits_run, data=Points(batch[0], batch[1], batch_size=size)) for size in (7, 60)]

    one, other = (numbers(told(run, **SOME)) for run in runs)

    assert one == other


def test_a_single_example_is_weighed(digits_run: Run) -> None:
    batch = digits_run.batch("test", [0])

    found = numbers(told(replace(digits_run, data=Points(batch[0], batch[1])), **SOME))

    assert found["unchanged_mean",].count == 1
    interval = found["unchanged_mean",].interval
    assert interval is not None
    assert interval[1] - interval[0] > 0.5


def test_a_picture_shows_the_worst_examples(digits_run: Run) -> None:
    (picture,) = [item for item in told(digits_run, **SOME) if isinstance(item, Picture)]

    assert picture.name == "worst"
    assert picture.png.startswith(b"\x89PNG")
    assert picture.split == "test"


def test_sounds_are_heard_clean_and_damaged() -> None:
    class Loud(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            power = inputs.square().mean(dim=1) * 100 - 1
            return torch.stack([-power, power], dim=1)

    samples = 0.1 * torch.randn(20, 800, generator=torch.Generator().manual_seed(0))
    adapter = AudioAdapter(scoring=ClassScoring(), bounds=(-1.0, 1.0), sample_rate=8000)
    data = Points(samples, (samples.square().mean(dim=1) > 0.01).long())

    found = told(frozen(table_task(Loud()), data, adapter=adapter))

    sounds = [item for item in found if isinstance(item, Sound)]
    assert [sound.name for sound in sounds] == ["worst_1", "worst_2", "worst_3"]
    assert sounds[0].wav[:4] == b"RIFF"
    assert "clean, then after" in sounds[0].title
    assert numbers(found)["unchanged", "noise", 5].value != 1


def test_videos_and_tables_have_kinds_of_their_own() -> None:
    frames = torch.rand(6, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    adapter = VideoAdapter(scoring=ClassScoring(), bounds=(0.0, 1.0))
    video = numbers(
        told(
            frozen(table_task(Bright()), Points(frames, torch.zeros(6).long()), adapter=adapter),
            severities=(5,),
        )
    )
    assert {key[1] for key in video if key[0] == "unchanged"} >= {"frame_drop", "frame_order", "snow"}

    rows = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    table = numbers(told(frozen(table_task(nn.Linear(3, 2)), Points(rows, torch.zeros(50).long()), adapter=TABLE)))
    assert {key[1] for key in table if key[0] == "unchanged"} == {"jitter", "missing", "unit_slip"}


def test_the_same_blur_lies_over_all_frames_of_a_video() -> None:
    from steelyard_stability.corruptions._families import family_for
    from steelyard_stability.corruptions._text import Rules

    frames = torch.rand(2, 1, 1, 12, 12, generator=torch.Generator().manual_seed(0)).expand(2, 3, 1, 12, 12)
    run = frozen(
        table_task(Bright()),
        Points(frames.contiguous(), torch.zeros(2).long()),
        adapter=VideoAdapter(scoring=ClassScoring(), bounds=(0.0, 1.0)),
    )
    family, batch = family_for(run, split="test", rules=Rules()), run.batch("test", [0, 1])

    snow = family.corrupted(batch, kind="snow", severity=3, numbers=[0, 1]).batch[0]
    noise = family.corrupted(batch, kind="gaussian_noise", severity=3, numbers=[0, 1]).batch[0]

    assert torch.equal(snow[:, 0], snow[:, 2])
    assert not torch.equal(noise[:, 0], noise[:, 2])


def test_a_model_that_draws_random_numbers_is_invalid() -> None:
    class Blurred(Bright):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs + 0.01 * torch.randn_like(inputs))

    found = numbers(told(frozen(table_task(Blurred()), greys(0.2, 0.9)), **SOME))

    assert {row.status for row in found.values()} == {Status.INVALID}
    assert "not deterministic" in found["unchanged_mean",].note


def test_one_answer_to_everything_is_no_stability() -> None:
    class Constant(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.tensor([[0.0, 1.0]]).expand(len(inputs), 2)

    found = numbers(told(frozen(table_task(Constant()), greys(0.2, 0.9)), **SOME))

    assert {row.status for row in found.values()} == {Status.INVALID}
    assert "decides 1 for every input" in found["unchanged_mean",].note


def test_data_outside_its_declared_range_is_invalid() -> None:
    found = numbers(told(frozen(table_task(Bright()), greys(0.2, 1.9)), **SOME))

    assert {row.status for row in found.values()} == {Status.INVALID}
    assert "outside the raw range" in found["unchanged_mean",].note


def test_pictures_without_a_range_get_that_of_the_split(digits_run: Run) -> None:
    wide = replace(digits_run, adapter=replace(IMAGES, bounds=None))

    found = numbers(told(wide, **SOME))

    assert found["unchanged_mean",].value == numbers(told(digits_run, **SOME))["unchanged_mean",].value


def test_the_deadline_shortens_and_says_so(digits_run: Run) -> None:
    late = replace(digits_run, deadline=time.monotonic())

    found = numbers(told(late, **{**SOME, "examples": 300}))

    assert {row.count for row in found.values()} == {8}
    assert all("time was up after the first 8 of 300 examples" in row.note for row in found.values())


def test_every_number_says_that_a_limit_left_no_time_for_all_examples(digits_run: Run) -> None:
    found = numbers(told(digits_run, **SOME, max_seconds=1e-9))
    whole = numbers(told(digits_run, **{**SOME, "examples": 8}, max_seconds=None))

    assert found.keys() == whole.keys()
    assert [row.value for row in found.values()] == [row.value for row in whole.values()]
    assert all("time was up after the first 8 of 60 examples" in row.note for row in found.values())
    assert not any("time was up" in row.note for row in whole.values())


def test_an_input_that_is_as_before_is_not_asked_about_again() -> None:
    asked: list[int] = []

    class Counting(Bright):
        def forward(self, inputs: Tensor) -> Tensor:
            asked.append(len(inputs))
            return super().forward(inputs)

    run = frozen(table_task(Counting()), greys(1.0, 0.2, 1.0, 0.3, 0.9), adapter=IMAGES)

    found = numbers(told(run, kinds=("brightness", "contrast"), severities=(5,), shown=0))

    # All of them, the control, and by brightness the three that are not white already; none by contrast.
    assert asked == [5, 5, 3]
    assert found["unchanged", "brightness", 5].value == 3 / 5
    assert "changed the input of 3 of 5" in found["unchanged", "brightness", 5].note


def test_measuring_leaves_no_trace(digits_run: Run) -> None:
    task = digits_run.task
    before, state, random_streams = bits(task), flags(task), streams()

    told(digits_run, **SOME)

    assert streams() == random_streams
    assert same_bits(bits(task), before)
    assert flags(task) == state


class Modal:
    """A draft, as far as preflight looks at it."""

    adapter = IMAGES


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"kinds": ("fogg",)}, "stability.corruptions.kinds=[fog]"),
        ({"severities": (0, 1)}, "stability.corruptions.severities=[1,3,5]"),
        ({"severities": ()}, "stability.corruptions.severities=[1,3,5]"),
        ({"templates": ("no place",)}, "stability.corruptions.templates=[]"),
    ],
)
def test_what_cannot_be_done_is_a_problem(options: dict[str, Any], fix: str) -> None:
    problems = list(Corruptions(**options).preflight(Modal()))  # type: ignore[arg-type]

    assert [problem.fix for problem in problems] == [fix]
    assert not list(Corruptions().preflight(Modal()))  # type: ignore[arg-type]
