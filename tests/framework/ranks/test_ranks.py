"""Several processes that train one model: launched from the config, held to one spec, ended together."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy
from torch import Tensor

from steelyard import folder, ranks
from steelyard.cli import main
from steelyard.composing import compose
from steelyard.problem import Refused, refuse
from steelyard.ranks import Facts, Lost, Rank, Spread, counting
from steelyard.ranks.joining import Launched
from steelyard.selection import plugins_of
from steelyard.stored import StoredRun

BARE = ["compute=none", "privacy=none", "interpretability=none", "stability=none"]
# Parts of 3 and 2 examples, and a last batch of one, which leaves the second process with nothing.
FEW = [*BARE, "data.limit=21", "data.batch_size=5", "trainer.max_epochs=2", "trainer.enable_progress_bar=false"]
SGD = ["optimizer=sgd", "optimizer.lr=0.1"]


class Stub:
    """What a rank does, for tests of the launching alone."""

    def __init__(self, rank: Rank, act: Callable[[Rank, str], None], spec: str = "0") -> None:
        self._rank, self._act, self._spec = rank, act, spec

    def prepare(self) -> Facts:
        self._act(self._rank, "prepare")
        return Facts(spec=self._spec, fingerprint=None)

    def carry(self, place: Path) -> Any:
        (place / f"{self._rank.number}").write_text(str(os.getpid()))
        self._act(self._rank, "carry")
        return "card" if self._rank.first else None

    def deliver(self, place: Path, scorecard: Any) -> None:
        (place / "delivered").write_text(str(self._rank.number))


def nothing(rank: Rank, when: str) -> None:
    pass


def run(way: Spread, place: Path) -> None:
    way.prepare()
    way.carry(place)


def gone(place: Path) -> bool:
    """True if no rank that wrote its number into `place` is left."""
    pids = [int((place / name).read_text()) for name in ("0", "1") if (place / name).exists()]
    return bool(pids) and not any(Path(f"/proc/{pid}").exists() for pid in pids)


def weights(place: Path) -> dict[str, Tensor]:
    return torch.load(place / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def trained(workdir: Path, *words: str) -> Path:
    before = set((workdir / "outputs").glob("*/"))
    assert main(["run", *FEW, *SGD, *words]) == 0
    (new,) = set((workdir / "outputs").glob("*/")) - before
    return new


@pytest.mark.parametrize(
    ("trainer", "number"),
    [
        ({}, 1),
        ({"devices": 1, "strategy": "ddp"}, 1),
        ({"devices": 2}, 2),
        ({"devices": "2", "strategy": "fsdp2"}, 2),
        ({"devices": [3, 1]}, 2),
        ({"devices": "0,1,2"}, 3),
        ({"devices": -1, "accelerator": "cpu"}, 1),
        ({"devices": "auto", "accelerator": "cpu", "strategy": "ddp"}, 1),
    ],
)
def test_the_trainer_says_how_many(trainer: dict[str, Any], number: int) -> None:
    assert ranks.count(trainer) == number
    assert ranks.count({**trainer, **ranks.alone(trainer)}) == 1


@pytest.mark.parametrize("name", ["gpu", "ddp", "fsdp2", "deepspeed"])
def test_presets_compose(name: str) -> None:
    trainer = compose(f"trainer={name}").config.trainer
    assert ranks.count(trainer) == (1 if name == "gpu" else 2)
    assert trainer.accelerator == ("gpu" if name in ("gpu", "deepspeed") else "auto")


@pytest.mark.parametrize(
    ("trainer", "there", "fix"),
    [
        ({"strategy": "deepspeed_stage_3"}, True, "trainer=fsdp2"),
        ({"strategy": "deepspeed_stage_3_offload_nvme"}, True, "trainer=fsdp2"),
        ({"strategy": "deepspeed_stage_2_offload"}, True, "trainer.strategy=deepspeed_stage_2"),
        ({}, False, "pip install 'steelyard[deepspeed]'"),
        ({"devices": 1}, True, "trainer.devices=2"),
        ({"accelerator": "cpu"}, True, "trainer.strategy=ddp"),
        ({}, True, "trainer.strategy=ddp"),
    ],
)
def test_deepspeed_is_refused_where_it_cannot_run(
    trainer: dict[str, Any], there: bool, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "find_spec", lambda name: object() if there else None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    found = list(ranks.problems((), {"strategy": "deepspeed", "devices": 2, **trainer}))
    assert [one.fix for one in found] == [fix]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert not list(ranks.problems((), {"strategy": "deepspeed", "devices": 2})) or not there


def test_what_cannot_be_spread_is_refused_by_name() -> None:
    found = plugins_of(compose("privacy=dp_sgd", "compute=accumulation").config)
    said = {one.party: one.message for one in ranks.problems(found, {"devices": 2})}
    assert "privacy.dp_sgd" not in said
    assert "nobody has said" in said["compute.accumulation"]
    assert not list(ranks.problems(found, {"devices": 1}))
    watching = plugins_of(compose("compute=cost").config)
    assert not list(ranks.problems(watching, {"devices": 2}))
    assert [one.fix for one in ranks.problems((), {"devices": 2, "strategy": "ddp_spawn"})] == ["trainer.strategy=ddp"]
    assert [one.fix for one in ranks.problems((), {"num_nodes": 2})] == ["trainer.num_nodes=1"]


def test_all_parts_are_done_by_all_and_the_last_by_the_first(tmp_path: Path) -> None:
    (tmp_path / "scorecard.json").write_text('{"title": "t", "spec": "0", "seed": 0, "sections": [], "seconds": 0}')
    with Spread(2, lambda rank: Stub(rank, nothing)) as way:
        assert way.prepare() == Facts(spec="0", fingerprint=None)
        way._party.say(tmp_path)
        assert way._party.hear(0) == "weighed"
        way._party.say("deliver", to=[0])
        way._party.end()
    assert (tmp_path / "delivered").read_text() == "0"
    assert gone(tmp_path)


def test_another_spec_stops_the_run_within_ten_seconds() -> None:
    begun = time.monotonic()
    with (
        pytest.raises(Lost, match="rank 1 has the spec 1 and rank 0 has 0: nothing was trained"),
        Spread(2, lambda rank: Stub(rank, nothing, spec=str(rank.number))) as way,
    ):
        way.prepare()
    assert time.monotonic() - begun < 10


def test_a_refusal_of_a_rank_is_the_run_s() -> None:
    def no(rank: Rank, when: str) -> None:
        raise refuse("this does not work", fix="seed=1")

    with pytest.raises(Refused, match="this does not work"), Spread(2, lambda rank: Stub(rank, no)) as way:
        way.prepare()


@pytest.mark.parametrize("number", [0, 1])
def test_a_rank_that_dies_takes_the_others_with_it(number: int, tmp_path: Path) -> None:
    def die(rank: Rank, when: str) -> None:
        if when == "carry" and rank.number == number:
            while not (tmp_path / str(1 - number)).exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        if when == "carry":
            time.sleep(60)

    begun = time.monotonic()
    with (
        pytest.raises(Lost, match=f"rank {number} was killed by SIGKILL"),
        Spread(2, lambda rank: Stub(rank, die)) as way,
    ):
        run(way, tmp_path)
    assert gone(tmp_path)
    assert time.monotonic() - begun < 10


def test_an_error_of_a_rank_comes_with_its_traceback(tmp_path: Path) -> None:
    def fail(rank: Rank, when: str) -> None:
        if when == "carry" and rank.number == 1:
            raise ZeroDivisionError("by nothing")
        if when == "carry":
            time.sleep(60)

    with (
        pytest.raises(Lost, match="rank 1: ZeroDivisionError: by nothing") as caught,
        Spread(2, lambda rank: Stub(rank, fail)) as way,
    ):
        run(way, tmp_path)
    assert "in fail" in caught.value.__notes__[0]
    assert gone(tmp_path)


@pytest.mark.parametrize(
    ("killed", "says"), [(False, "rank 1: ZeroDivisionError"), (True, "rank 1 was killed by SIGKILL")]
)
def test_the_rank_that_was_first_to_fail_is_named(killed: bool, says: str, tmp_path: Path) -> None:
    """When one is gone the others fail, too: of that nobody wants to hear."""

    def fail(rank: Rank, when: str) -> None:
        if when == "carry" and rank.number == 1:
            (tmp_path / "failing").touch()
            os.kill(os.getpid(), signal.SIGKILL) if killed else None
            raise ZeroDivisionError("by nothing")
        while when == "carry" and not (tmp_path / "failing").exists():
            time.sleep(0.01)
        if when == "carry":
            time.sleep(0.05)
            raise ConnectionError("closed by peer")

    with Spread(2, lambda rank: Stub(rank, fail)) as way:
        way.prepare()
        way._party.say(tmp_path)
        time.sleep(0.2)
        with pytest.raises(Lost, match=says):
            way._party.hear(0)


def test_ranks_take_no_port(tmp_path: Path) -> None:
    launched = Launched(Rank(number=1, count=2, meeting=tmp_path / "meeting"))
    with pytest.raises(RuntimeError, match="take no port"):
        _ = launched.main_port


def test_two_processes_with_ddp_equal_one_with_the_whole_batch(workdir: Path) -> None:
    alone, together = trained(workdir), trained(workdir, "trainer=ddp", "trainer.max_epochs=2")
    other = weights(together)
    for name, value in weights(alone).items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=2e-6)
    one, two = StoredRun(alone).scorecard, StoredRun(together).scorecard
    assert [row.name for row in one.measurements()] == [row.name for row in two.measurements()]
    assert any("trained by 2 processes" in note for note in two.notes)
    assert folder.status(together).state is folder.State.DONE
    assert weights(alone)["model.layers.2.weight"].abs().sum() > 0


@pytest.mark.slow
def test_fsdp2_equals_ddp(workdir: Path) -> None:
    words = ["trainer.max_epochs=2"]
    one, two = trained(workdir, "trainer=ddp", *words), trained(workdir, "trainer=fsdp2", *words)
    other = weights(two)
    for name, value in weights(one).items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=2e-6)
    first, second = (StoredRun(place).scorecard.measurements() for place in (one, two))
    assert [row.value for row in first] == pytest.approx([row.value for row in second], abs=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_deepspeed_equals_ddp_and_cannot_go_on(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CPUs, which DeepSpeed knows and Lightning's class turns away: its own two looks for CUDA are taken from it."""
    pytest.importorskip("deepspeed")
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    monkeypatch.setattr(DeepSpeedStrategy, "setup_environment", DDPStrategy.setup_environment)
    monkeypatch.setattr(DeepSpeedStrategy, "root_device", property(lambda self: torch.device("cpu", 0)))
    monkeypatch.setattr(counting, "_zero", lambda strategy, trainer: iter(()))
    words = ["optimizer=adamw", "optimizer.lr=0.01", "trainer.gradient_clip_val=0.1", "trainer.max_epochs=2"]
    plain = trained(workdir, *words, "trainer=ddp")
    for name in ("deepspeed_stage_1", "deepspeed"):
        shared = trained(workdir, *words, "trainer=deepspeed", f"trainer.strategy={name}", "trainer.accelerator=cpu")
        other = weights(shared)
        for key, value in weights(plain).items():
            torch.testing.assert_close(other[key], value, rtol=0, atol=2e-6)
        one, two = (StoredRun(place).scorecard.measurements() for place in (plain, shared))
        assert [row.value for row in one] == pytest.approx([row.value for row in two], abs=1e-5)
    status = shared / "status.json"
    status.write_text(status.read_text().replace('"done"', '"interrupted"'))
    assert main(["resume", str(shared)]) == 2


KILLER = """
import os, signal
from pytorch_lightning import Callback
class Killer(Callback):
    def __init__(self, seed): self.seed = seed
    def on_train_epoch_end(self, trainer, pl_module):
        open(f"pid-{self.seed}-{trainer.global_rank}", "w").write(str(os.getpid()))
        if self.seed == 1 and trainer.global_rank == 1 and trainer.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_dying_rank_fails_only_its_trial_and_leaves_no_orphan(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(workdir))
    (workdir / "killer.py").write_text(KILLER)
    callback = "trainer.callbacks=[{_target_:killer.Killer,seed:${seed}}]"
    words = ["trainer=ddp", callback, "seed=0,1,2", "sweep.workers=2", "trainer.max_epochs=3"]
    assert main(["run", "-m", *FEW, *SGD, *words]) == 3
    (place,) = (workdir / "outputs").glob("*_sweep")
    states = [folder.status(place / name) for name in ("0", "1", "2")]
    assert [one.state.value for one in states] == ["done", "failed", "done"]
    assert "rank 1 was killed by SIGKILL" in states[1].message
    pids = [int(path.read_text()) for path in workdir.glob("pid-*")]
    assert len(pids) == 6
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


STOPPER = """
import os, signal, time
from pytorch_lightning import Callback
class Stopper(Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        open(f"pid-{trainer.global_rank}", "w").write(str(os.getpid()))
        if trainer.current_epoch == 1 and not os.path.exists("stopped"):
            time.sleep(0.5)
            if trainer.global_rank == 0:
                open("stopped", "w").close()
                os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(30)
"""


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["ddp", "fsdp2"])
def test_a_run_over_ranks_is_terminated_whole_and_goes_on(
    trainer: str, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(workdir))
    (workdir / "stopper.py").write_text(STOPPER)
    words = [f"trainer={trainer}", "trainer.callbacks=[{_target_:stopper.Stopper}]", "trainer.max_epochs=3"]
    assert main(["run", *FEW, *SGD, *words]) == 143
    (place,) = (workdir / "outputs").glob("*/")
    assert folder.status(place).state is folder.State.TERMINATED
    pids = [int(path.read_text()) for path in workdir.glob("pid-*")]
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert main(["resume", str(place)]) == 0
    assert folder.status(place).state is folder.State.DONE
    content = torch.load(place / "checkpoints" / "last.ckpt", weights_only=True)
    assert (content["epoch"], content["global_step"]) == (2, 15)


WITNESS = """
import json, os
from pytorch_lightning import Callback
class Witness(Callback):
    def __init__(self, lr): self.lr = lr
    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.global_rank == 1 and not os.path.exists("failed"):
            os.close(os.open("failed", os.O_CREAT | os.O_EXCL))
            raise ZeroDivisionError("the first trial to come here")
    def on_train_end(self, trainer, pl_module):
        used = trainer.optimizers[0].param_groups[0]["lr"]
        weights = [float(value.detach().double().sum()) for value in pl_module.parameters()]
        with open(f"seen-{self.lr}-{trainer.global_rank}", "w") as file:
            json.dump({"used": used, "weights": weights}, file)
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_all_ranks_of_a_searched_trial_train_with_the_same(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unseeded search, two trials at a time, and the first to start an epoch fails."""
    pytest.importorskip("optuna")
    monkeypatch.syspath_prepend(str(workdir))
    (workdir / "witness.py").write_text(WITNESS)
    search = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=5", "hydra.sweeper.seed=null"]
    drawn = [
        "hydra.sweeper.maximize=[task.accuracy]",
        "optimizer=sgd",
        "optimizer.lr=interval(0.001,1)",
        "sweep.workers=2",
    ]
    callback = "trainer.callbacks=[{_target_:witness.Witness,lr:${optimizer.lr}}]"
    assert main(["run", "-m", *FEW, "trainer=ddp", callback, *search, *drawn]) == 3

    (place,) = (workdir / "outputs").iterdir()
    ends = [folder.status(place / str(number)) for number in range(5)]
    assert sorted(one.state.value for one in ends) == ["done"] * 4 + ["failed"]
    (message,) = [one.message for one in ends if one.state is folder.State.FAILED]
    assert "rank 1: ZeroDivisionError: the first trial to come here" in message
    seen = {path.name.removeprefix("seen-"): folder.read_json(path) for path in workdir.glob("seen-*")}
    rates = {name.rpartition("-")[0] for name in seen}
    assert len(rates) == 4
    assert sorted(seen) == sorted(f"{rate}-{number}" for rate in rates for number in (0, 1))
    for rate in rates:
        assert seen[f"{rate}-0"] == seen[f"{rate}-1"]
        assert seen[f"{rate}-0"]["used"] == float(rate)
