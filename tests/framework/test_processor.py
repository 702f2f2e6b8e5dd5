"""A run tells how long it waited while others had the processors, and what that says of its times."""

import io
import os
import signal
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

import report_samples as samples
from helpers.forked import in_a_fork
from steelyard import processor
from steelyard.report import print_scorecard
from steelyard.report.sweep_verdict import sweep_verdict
from steelyard.report.verdict import verdict

counted = pytest.mark.skipif(processor.waited() is None, reason="this kernel does not count how long a thread waits")


def beside_another():
    """What a process has waited that shares one processor with another, once it has waited for 50 ms."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    other = os.fork()
    if not other:
        while True:
            pass
    try:
        begun, start = time.monotonic(), processor.waited()
        while processor.waited(since=start) < 0.05 and time.monotonic() - begun < 60:
            pass
        return processor.waited(since=start), time.monotonic() - begun
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


@counted
def test_waiting_for_a_processor_that_another_has_is_counted():
    seconds, passed = in_a_fork(beside_another)
    assert 0.05 <= seconds <= passed


@counted
def test_what_was_waited_before_is_not_in_what_is_asked_about():
    start = processor.waited()
    assert processor.waited(since=start) <= processor.waited()
    assert processor.waited(since=processor.waited()) < 60


@pytest.mark.parametrize("text", [None, "", "12"])
def test_a_kernel_that_does_not_count_says_nothing(text, tmp_path, monkeypatch):
    file = tmp_path / "schedstat"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(processor, "_COUNTED", file)
    assert processor.waited() is None
    assert processor.waited(since=1.0) is None


@counted
def test_who_did_not_count_at_the_start_does_not_at_the_end():
    assert processor.waited(since=None) is None


@pytest.mark.parametrize(("waited", "share"), [(None, 0.0), (0.0, 0.0), (0.9, 0.0), (1.0, 0.1), (6.0, 0.6)], ids=str)
def test_less_than_a_tenth_is_not_held_against_a_run(waited, share):
    assert replace(samples.scorecard(), seconds=10.0, waited=waited).waiting == pytest.approx(share)


def test_a_run_of_no_time_waited_none_of_it():
    assert replace(samples.scorecard(), seconds=0.0, waited=1.0).waiting == 0


def printed(card):
    console = Console(file=io.StringIO(), width=200, highlight=False)
    print_scorecard(card, console=console)
    return console.file.getvalue()


def test_a_run_on_a_busy_machine_says_so_on_its_page_and_in_the_terminal():
    card = replace(samples.scorecard(), seconds=10.0, waited=6.0)
    (said,) = [line for line in verdict(card, None).details if "busy" in line]
    assert "this run waited for a processor 60% of its time" in said
    assert said in printed(card)


def test_a_run_that_had_its_processor_says_nothing_of_it():
    card = replace(samples.scorecard(), seconds=10.0, waited=0.5)
    assert not any("busy" in line for line in verdict(card, None).details)
    assert "busy" not in printed(card)


def test_a_sweep_counts_its_runs_that_waited():
    cards = [replace(samples.scorecard(), seconds=10.0, waited=waited) for waited in (0.5, 2.0, 4.0)]
    trials = [SimpleNamespace(scorecard=card, state="done", name=str(at)) for at, card in enumerate(cards)]
    (said,) = [line for line in sweep_verdict(SimpleNamespace(trials=trials, groups=[])).details if "busy" in line]
    assert "2 of 3 runs waited for a processor up to 40% of their time" in said
