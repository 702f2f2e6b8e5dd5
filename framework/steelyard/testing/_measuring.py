"""Checks of `measure`: what a plugin says of the run, and how it leaves it."""

import json
import re
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

from pytorch_lightning import seed_everything

from steelyard.draft import Draft
from steelyard.measurement import Artefact, Measurement, Picture, Sound, Status, Table
from steelyard.measuring import looking, plugin_sections
from steelyard.scorecard import Scorecard
from steelyard.testing import _state
from steelyard.testing._bench import Bench, Trained
from steelyard.testing._items import faults, point, unshowable
from steelyard.testing._verdict import after, expect, expect_none, strangers

WORDS = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
DISTURBED = "leave the run as you found it, by `try ... finally`; measure changed this"


class ModelDown(RuntimeError):
    """The exception that a model raises on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came of one undisturbed `measure`.

    Attributes:
        items: What it yielded.
        changed: What of the run was not as before at the end.
        unfinished: After how many items something was not as before, while it waited for its listener.
        calls: How often it called the task.
    """

    items: Sequence[Measurement | Artefact]
    changed: Sequence[str]
    unfinished: Sequence[int]
    calls: int


class Watch:
    """The state of a run, compared with what it is now.

    Args:
        draft: What the run was made of.
    """

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._before = _state.live(draft)

    def changed(self) -> list[str]:
        """What is not as it was."""
        return list(_state.differences(self._before, _state.live(self._draft)))


_HEARD: WeakKeyDictionary[type, Heard] = WeakKeyDictionary()
"""By test class: several checks judge the same words."""


class MeasureChecks(Bench):
    """What a plugin may say, and what it must put back."""

    def test_measures(self) -> None:
        """Measurements, pictures, sounds and tables, and nothing else."""
        found = strangers(self._heard().items, Measurement, Picture, Sound, Table)
        expect_none(found, "measure yields Measurement, Picture, Sound and Table only")

    def test_names_are_words_and_unique(self) -> None:
        """They are typed in requirements and become names of files."""
        items = self._said()
        names = sorted({item.name for item in items if not WORDS.fullmatch(item.name)})
        expect_none(map(repr, names), "names are lower case words joined by underscores; the core puts the rest before")
        points = [point(item) for item in items]
        twice = sorted({" ".join(point) for point in points if points.count(point) > 1})
        expect_none(twice, "each name comes once, or once at each point of a curve (`at`)")

    def test_numbers_are_plain_and_in_range(self) -> None:
        """What cannot be written down or judged is no measurement."""
        rows = [item for item in self._said() if isinstance(item, Measurement)]
        expect_none((line for row in rows for line in faults(row)), "these measurements cannot be judged")

    def test_artefacts_can_be_shown(self) -> None:
        """Also to those who do not see them."""
        shown = [item for item in self._said() if not isinstance(item, Measurement)]
        expect_none((line for item in shown for line in unshowable(item)), "these artefacts cannot be shown")

    def test_the_scorecard_holds_what_it_says(self) -> None:
        """Through the core's own measuring, to JSON and back."""
        with after("test_names_are_words_and_unique"):
            self.test_names_are_words_and_unique()
        with after("test_numbers_are_plain_and_in_range"):
            self.test_numbers_are_plain_and_in_range()
        with after("test_measure_leaves_the_run_as_it_was"):
            self.test_measure_leaves_the_run_as_it_was()
        with self._trained() as trained:
            made = trained.made
            (section,) = plugin_sections(made.selected, made.attachments, trained.run)
        expect(section.status is not Status.FAILED, f"the core marks the section failed:\n{section.error}")
        card = Scorecard(title="", spec="", seed=self.seed, sections=(section,))
        try:
            back = Scorecard.from_json(json.loads(json.dumps(card.to_json(), allow_nan=False)))
        except (TypeError, ValueError) as error:
            raise AssertionError(f"scorecard.json cannot hold what the plugin says: {error}") from error
        lost = [row.name for row, again in zip(card.measurements(), back.measurements(), strict=True) if row != again]
        expect_none(lost, "these measurements do not survive scorecard.json")

    def test_measure_leaves_the_run_as_it_was(self) -> None:
        """Weights, flags, hooks, gradients, random streams, settings."""
        with after("test_measures"):
            changed = self._heard().changed
        expect_none(changed, DISTURBED)

    def test_measure_stopped_early_leaves_the_run_as_it_was(self) -> None:
        """The core stops listening where another item was wrong."""
        with after("test_measure_leaves_the_run_as_it_was"):
            self.test_measure_leaves_the_run_as_it_was()
        heard = self._heard()
        # Where nothing is open while it waits, nothing can be left open.
        for taken in (*heard.unfinished[:2], *heard.unfinished[-1:]):
            with self._trained() as trained, _watched(trained) as watch:
                items = _measure(trained)
                list(islice(items, taken))
                if isinstance(items, Generator):
                    items.close()
                changed = watch.changed()
            expect_none(changed, f"{DISTURBED} when nobody listened after item {taken} of {len(heard.items)}")

    def test_measure_of_a_failing_model_leaves_the_run_as_it_was(self) -> None:
        """The model raises in the first, the middle and the last of its calls."""
        with after("test_measure_leaves_the_run_as_it_was"):
            self.test_measure_leaves_the_run_as_it_was()
        last = self._heard().calls - 1
        for at in sorted({0, last // 2, last} & set(range(last + 1))):
            with self._trained() as trained, _failing(trained, at=at), _watched(trained) as watch:
                # Any exception will do: a plugin may put one of its own in the model's place.
                with suppress(Exception):
                    list(_measure(trained))
                changed = watch.changed()
            expect_none(changed, f"{DISTURBED} when the model raised in call {at + 1} of {last + 1}")

    def test_measuring_twice_gives_the_same(self) -> None:
        """Whatever the global random streams, except for what is marked `timing=True`."""
        with self._trained() as trained:
            with after("test_measures"), looking(trained.run.task):
                first = _numbers(_measure(trained))
            seed_everything(self.seed + 1, verbose=False)
            with looking(trained.run.task):
                second = _numbers(_measure(trained))
        advice = (
            "measuring again gives another value; draw from a generator seeded by run.seed, "
            "keep no state from one measure to the next, and mark what is a time with timing=True"
        )
        expect_none(_state.differences(first, second), advice)

    def test_weighing_without_training_raises_nothing(self) -> None:
        """Under `steelyard weigh` it measures, or says `skipped`."""
        with after("test_measures"):
            self._heard()
        with self._untrained() as weighed, looking(weighed.run.task):
            try:
                list(_measure(weighed))
            except Exception as error:
                advice = f"measure raises {error!r} where run.trained is False; yield status=Status.SKIPPED with a note"
                raise AssertionError(advice) from error

    def test_a_deadline_that_has_passed_raises_nothing(self) -> None:
        """It then looks at fewer examples, or says `skipped`."""
        with after("test_measures"):
            self._heard()
        with self._trained() as trained, looking(trained.run.task):
            late = replace(trained.run, deadline=time.monotonic() - 1)
            try:
                list(trained.made.attachment.measure(late))
            except Exception as error:
                advice = f"measure raises {error!r} where run.deadline has passed; yield status=Status.SKIPPED instead"
                raise AssertionError(advice) from error

    def _said(self) -> Sequence[Measurement | Artefact]:
        with after("test_measures"):
            self.test_measures()
        return self._heard().items

    def _heard(self) -> Heard:
        if type(self) not in _HEARD:
            items: list[Measurement | Artefact] = []
            unfinished: list[int] = []
            with self._trained() as trained, _failing(trained, at=-1) as calls, _watched(trained) as watch:
                for item in _measure(trained):
                    items.append(item)
                    unfinished += [len(items)] if watch.changed() else []
                changed = watch.changed()
            _HEARD[type(self)] = Heard(items=items, changed=changed, unfinished=unfinished, calls=len(calls))
        return _HEARD[type(self)]


def _measure(trained: Trained) -> Iterator[Measurement | Artefact]:
    return trained.made.attachment.measure(trained.run)


@contextmanager
def _watched(trained: Trained) -> Generator[Watch]:
    """As the core looks, and inside it, before the core puts flags and streams back."""
    with looking(trained.run.task):
        yield Watch(trained.made.draft)


@contextmanager
def _failing(trained: Trained, *, at: int) -> Generator[list[None]]:
    """Counts the calls of the task, and raises in the one with this number."""
    calls: list[None] = []

    def count(*_: Any) -> None:
        calls.append(None)
        if len(calls) - 1 == at:
            raise ModelDown("the suite made the model fail")

    handle = trained.run.task.register_forward_pre_hook(count)
    try:
        yield calls
    finally:
        handle.remove()


def _numbers(items: Iterator[Measurement | Artefact]) -> Mapping[str, Any]:
    rows = [item for item in items if isinstance(item, Measurement)]
    return {" ".join(point(row)): row.timing or row for row in rows}
