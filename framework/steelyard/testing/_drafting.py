"""Checks of what happens before training: preflight and attach."""

import torch

from steelyard import assembly, randomness
from steelyard.attachment import Attachment
from steelyard.preflight import preflight
from steelyard.problem import Problem, Refused
from steelyard.testing import _state
from steelyard.testing._bench import Bench
from steelyard.testing._verdict import after, expect, expect_none, strangers


class DraftChecks(Bench):
    """What preflight and attach may do."""

    def test_preflight_accepts_the_suite(self) -> None:
        """Otherwise nothing else can be checked."""
        with after("test_preflight_gives_problems"):
            self.test_preflight_gives_problems()
        try:
            preflight(self._selected(), self._draft())
        except Refused as refused:
            advice = "the plugin refuses the suite's tiny classifier; override `task`, `data` or `trainer`"
            expect_none(str(refused).splitlines(), advice)

    def test_preflight_gives_problems(self) -> None:
        """Nothing but `Problem`s, each with a message."""
        found = list(self.plugin.preflight(self._draft()))
        expect_none(strangers(found, Problem), "preflight yields Problems only")
        silent = (repr(problem) for problem in found if not problem.message.strip())
        expect_none(silent, "say in the message what is wrong and where")

    def test_preflight_changes_nothing(self) -> None:
        """It runs before anybody knows whether the run will be refused."""
        draft = self._draft()
        before = _state.live(draft)
        with after("test_preflight_gives_problems"):
            list(self.plugin.preflight(draft))
        expect_none(_state.differences(before, _state.live(draft)), "preflight only reads; it changed")

    def test_preflight_reads_a_draft_without_weights(self) -> None:
        """`steelyard plan` builds on the meta device."""
        draft = self._draft(device="meta")
        with torch.device("meta"):
            draft.task.configure_model()
        with after("test_preflight_gives_problems"):
            list(self.plugin.preflight(self._draft()))
        try:
            list(self.plugin.preflight(draft))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            advice = f"preflight fails on a draft whose weights have no values ({reason}); read types and shapes only"
            raise AssertionError(advice) from error

    def test_attach_gives_an_attachment(self) -> None:
        """Lightning gets it as a callback."""
        with randomness.forked():
            made = self.plugin.attach(self._draft())
        expect_none(strangers([made], Attachment), "attach returns a steelyard.Attachment; it returned")

    def test_attach_changes_only_what_it_claims(self) -> None:
        """The core's own enforcement."""
        draft = self._draft()
        with after("test_attach_gives_an_attachment"):
            self.test_attach_gives_an_attachment()
        try:
            assembly.attach(self._selected(), draft)
        except Refused as refused:
            expect_none(str(refused).splitlines(), "the core refuses what attach did")

    def test_attach_makes_a_new_attachment_for_every_run(self) -> None:
        """One live half per run, and nothing on the declaration."""
        one, other = (self._attached().attachment for _ in range(2))
        expect(one is not other, "two runs share one attachment: make a new one in every attach")

    def test_attach_draws_no_global_randomness(self) -> None:
        """Its randomness is its own."""
        draft = self._draft()
        with randomness.forked():
            before = _state.streams()
            with after("test_attach_changes_only_what_it_claims"):
                self.plugin.attach(draft)
            now = _state.streams()
        advice = (
            "attach draws random numbers that belong to the training: take a generator seeded by draft.seed, "
            "or wrap what draws in `steelyard.randomness.forked()`; it moved"
        )
        expect_none(_state.differences(before, now), advice)
