import multiprocessing
from typing import Any

import torch
from torch import nn

from steelyard import resident
from steelyard_compute._memory import MIB, HighWater

CPU = torch.device("cpu")


def test_the_mark_rises_with_what_is_used_and_stays() -> None:
    mark = HighWater(nn.Identity(), CPU)
    before = mark.read().mib
    held = torch.ones(64 * MIB // 4)
    del held

    assert 55 < mark.read().mib - before < 90


def test_a_new_mark_forgets_the_old_one() -> None:
    first = HighWater(nn.Identity(), CPU)
    held = torch.ones(64 * MIB // 4)
    high = first.read().process
    del held

    assert HighWater(nn.Identity(), CPU).read().process < high - 50


def test_the_weights_of_the_model_are_in_it_and_what_was_held_before_is_not() -> None:
    held = torch.ones(64 * MIB // 4)
    mark = HighWater(nn.Linear(1024, 8 * 256, bias=False), CPU)

    found = mark.read()
    assert 8 <= found.mib < 20
    assert found.process > 64
    assert "8.0 of the model" in found.of
    del held


def _in_a_fork(answers: Any) -> None:
    mark = HighWater(nn.Identity(), CPU)
    used = torch.ones(32 * MIB // 4)
    answers.put(mark.read().mib)
    del used


def test_what_a_forked_trial_inherits_is_not_in_it() -> None:
    inherited = torch.ones(128 * MIB // 4)
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    child = fork.Process(target=_in_a_fork, args=(answers,))
    child.start()
    found = answers.get(timeout=60)
    child.join()
    del inherited

    assert 28 < found < 60


def test_where_it_cannot_forget_it_says_so(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(resident, "_CLEAR", tmp_path / "missing" / "clear_refs")
    monkeypatch.setattr(resident, "_STATUS", tmp_path / "missing" / "status")

    peak = HighWater(nn.Identity(), CPU).read()

    assert peak.mib > 50
    assert "since it began" in peak.of
