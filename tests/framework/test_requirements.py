import pytest

from steelyard import requirements
from steelyard.measurement import Measurement, Status
from steelyard.report.verdict import verdict
from steelyard.scorecard import Judgement, Scorecard, Stability

NAME = "privacy.dp_sgd.epsilon"


def judge(bound: str, limit: float, *measurements: Measurement) -> Judgement:
    node = {"privacy": {"dp_sgd": {"epsilon": {bound: limit}}}}
    (row,) = requirements.judge(node, measurements)
    assert (row.name, row.bound, row.limit) == (NAME, bound, limit)
    return row.judgement


def measured(value: float, interval: tuple[float, float] | None = None, **more: object) -> Measurement:
    return Measurement(name=NAME, value=value, interval=interval, **more)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("bound", "limit", "value", "interval", "expected"),
    [
        ("max", 8, 8.0, None, Judgement.MET),
        ("max", 8, 8.1, None, Judgement.NOT_MET),
        ("max", 8, 7.0, (6.0, 7.9), Judgement.MET),
        ("max", 8, 7.0, (6.0, 8.1), Judgement.INCONCLUSIVE),
        ("max", 8, 9.0, (7.9, 10.0), Judgement.INCONCLUSIVE),
        ("max", 8, 9.0, (8.1, 10.0), Judgement.NOT_MET),
        ("min", 8, 9.0, (8.0, 10.0), Judgement.MET),
        ("min", 8, 9.0, (7.9, 10.0), Judgement.INCONCLUSIVE),
        ("min", 8, 7.0, (6.0, 7.9), Judgement.NOT_MET),
    ],
)
def test_the_unfavourable_end_is_held_against_the_limit(
    bound: str, limit: float, value: float, interval: tuple[float, float] | None, expected: Judgement
) -> None:
    assert judge(bound, limit, measured(value, interval)) is expected


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (measured(9.0), ""),
        (measured(9.0, at={"x": 2}), "at x=2"),
        (measured(9.0, (8.1, 10.0)), "it is 9, and all of its 95% interval [8.1, 10] is beyond the limit"),
        (measured(9.0, (7.9, 10.0)), "the 95% interval [7.9, 10] straddles the limit"),
        (measured(7.0), ""),
    ],
)
def test_why_it_is_not_met_is_said_with_what_was_measured(found: Measurement, reason: str) -> None:
    (row,) = requirements.judge({NAME: {"max": 8}}, [found])
    assert row.reason == reason


def test_what_is_missing_does_not_meet_it() -> None:
    assert judge("max", 8) is Judgement.MISSING


@pytest.mark.parametrize("status", [Status.SKIPPED, Status.FAILED])
def test_what_was_not_measured_does_not_meet_it(status: Status) -> None:
    assert judge("max", 8, Measurement(name=NAME, status=status, note="why")) is Judgement.MISSING


def test_what_is_invalid_does_not_meet_it() -> None:
    assert judge("max", 8, measured(1.0, status=Status.INVALID, note="a control failed")) is Judgement.INVALID


def test_every_point_of_a_curve_has_to_hold() -> None:
    assert judge("max", 8, measured(1.0, at={"x": 1}), measured(9.0, at={"x": 2})) is Judgement.NOT_MET
    assert judge("max", 8, measured(1.0, at={"x": 1}), measured(2.0, at={"x": 2})) is Judgement.MET


def test_a_requirement_that_is_none_is_found_before_the_run() -> None:
    found = list(requirements.problems({"task": {"accuracy": {"mn": 0.9, "min": "high"}}}))
    assert [problem.message for problem in found] == [
        "require.task.accuracy.mn is no requirement: its last word is `min` or `max`",
        "require.task.accuracy.min must be a number, got 'high'",
    ]
    assert [problem.fix for problem in found] == ["require.task.accuracy.mn.max=0.9", "require.task.accuracy.min=0.5"]
    assert [problem.fix for problem in requirements.problems({"task": None})] == ["~require.task"]


FLIPS = "stability.any.flips"
FLAGGED = Measurement(name=FLIPS, value=0.0, status=Status.INVALID, note="the attack is blind")


def flips(value: float, interval: tuple[float, float]) -> Measurement:
    return Measurement(name=FLIPS, value=value, interval=interval)


@pytest.mark.parametrize(
    ("found", "other", "expected"),
    [
        (flips(0.1, (0.05, 0.19)), None, Stability.STABLE),
        (flips(0.3, (0.25, 0.35)), None, Stability.UNSTABLE),
        (flips(0.2, (0.15, 0.25)), None, Stability.INCONCLUSIVE),
        (None, None, Stability.INCONCLUSIVE),
        (flips(0.1, (0.05, 0.19)), 0.1, Stability.STABLE),
        # A flagged attack is never stable, whatever else holds; what was found by a sound one stays found.
        (FLAGGED, 0.1, Stability.INVALID),
        (FLAGGED, 0.9, Stability.UNSTABLE),
    ],
)
def test_the_stability_of_the_output_has_a_verdict(
    found: Measurement | None, other: float | None, expected: Stability
) -> None:
    rows = [] if found is None else [found]
    node: dict[str, object] = {"any": {"flips": {"max": 0.2}}}
    if other is not None:
        rows.append(Measurement(name="stability.other.drop", value=other))
        node["other"] = {"drop": {"max": 0.2}}
    judged = requirements.judge({"stability": node}, rows)
    card = Scorecard(title="t", spec="s", seed=0, sections=(), requirements=judged)

    assert card.stability is expected
    assert verdict(card, None).line.endswith(f"The output's stability: {expected}.")
    assert card.met == (expected is Stability.STABLE)


def test_without_a_requirement_there_is_no_verdict_on_stability() -> None:
    judged = requirements.judge({"task": {"accuracy": {"min": 0.5}}}, [Measurement(name="task.accuracy", value=0.9)])
    card = Scorecard(title="t", spec="s", seed=0, sections=(), requirements=judged)

    assert card.stability is None
    assert verdict(card, None).line == "The requirement is met."
