"""Private training in two processes that talk by gloo: one draw, one sum, one noise."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from private_runs import examples
from steelyard.cli import main
from steelyard.ranks import DealtOut
from steelyard.stored import StoredRun
from steelyard_privacy._randomness import Randomness
from steelyard_privacy._sampling import PoissonLoader, population_of

FEW = [
    *("compute=none", "interpretability=none", "stability=none", "optimizer=sgd", "optimizer.lr=0.1"),
    *("data.limit=40", "data.batch_size=8", "trainer.enable_progress_bar=false", "privacy=dp_sgd"),
    *("privacy.dp_sgd.ledger=spent.jsonl", "privacy.dp_sgd.target_epsilon=20"),
]
TOGETHER = ("trainer=ddp", "trainer.max_epochs=3")


def drawn(*, part: tuple[int, int], secret: bytes | None) -> list[list[int]]:
    source = DataLoader(examples(64), batch_size=16)
    randomness = Randomness(None)
    if secret is not None:
        randomness.agree(secret)
    loader = PoissonLoader(
        source=source,
        population=population_of(source),
        randomness=randomness,
        step=lambda: 0,
        watch=lambda positions: None,
        part=part,
    )
    assert isinstance(loader, DealtOut)
    return list(loader.draws())


def test_the_parts_of_all_processes_are_one_draw() -> None:
    whole = drawn(part=(0, 1), secret=b"1" * 16)
    parts = [drawn(part=(number, 2), secret=b"1" * 16) for number in (0, 1)]
    assert any(whole)
    # Where nothing is drawn for a process, a row stands there to be cut away.
    for batch, one, other in zip(whole, *parts, strict=True):
        assert len(batch) < 2 or sorted([*one, *other]) == batch
    assert drawn(part=(0, 1), secret=b"2" * 16) != whole
    assert drawn(part=(0, 1), secret=None) != whole


def test_what_is_agreed_on_is_the_same_noise_and_another_one_than_the_draws() -> None:
    found: list[Any] = []
    for _ in range(2):
        randomness = Randomness(None)
        randomness.agree(b"1" * 16)
        noise = torch.empty(4)
        randomness.noise(step=0, device=noise.device).fill(noise, scale=1.0)
        found.append((noise, randomness.draws(step=0).random(4)))
    assert torch.equal(found[0][0], found[1][0])
    assert np.array_equal(found[0][1], found[1][1])
    assert randomness._fresh("noise") != randomness._fresh("sampling")


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(workdir: Path, *words: str) -> Path:
    before = set((workdir / "outputs").glob("*/"))
    assert main(["run", *FEW, *words]) == 0
    (new,) = set((workdir / "outputs").glob("*/")) - before
    return new


def weights(place: Path) -> dict[str, torch.Tensor]:
    return torch.load(place / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [["engine=hooks"], ["engine=microbatch"], ["engine=hooks", "clip_quantile=0.5", "clip_count_noise=0.2"]],
)
def test_two_processes_are_one(options: list[str], workdir: Path) -> None:
    words = ["privacy.dp_sgd.noise_seed=0", *(f"privacy.dp_sgd.{option}" for option in options)]
    alone = trained(workdir, *words, "trainer.max_epochs=3")
    charged = len((workdir / "spent.jsonl").read_text().splitlines())
    together = trained(workdir, *words, *TOGETHER)
    # The same batches and the same noise: added twice, or in each process another one, it would show.
    other = weights(together)
    for name, value in weights(alone).items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=2e-5)
    # One more run is charged, and no second one for the second process.
    assert len((workdir / "spent.jsonl").read_text().splitlines()) == 2 * charged
    rows = [{row.name: row for row in StoredRun(run).scorecard.measurements()} for run in (alone, together)]
    for name in ("epsilon", "clipped_fraction", "drawn_rate", "controls_failed"):
        one, two = (found[f"privacy.dp_sgd.{name}"] for found in rows)
        assert one.status == two.status == "measured"
        assert (one.value, one.count) == (pytest.approx(two.value), two.count)


@pytest.mark.slow
def test_two_processes_in_mixed_precision_are_one(workdir: Path) -> None:
    words = ["privacy.dp_sgd.noise_seed=0", "privacy.dp_sgd.engine=hooks", "trainer.precision=bf16-mixed"]
    one, other = (weights(trained(workdir, *words, *more)) for more in (["trainer.max_epochs=3"], TOGETHER))
    moved = weights(trained(workdir, "privacy.dp_sgd.noise_seed=1", *words[1:], "trainer.max_epochs=3"))
    for name, value in one.items():
        # What rounding changes is far less than what another draw does.
        assert (other[name] - value).norm() <= 0.02 * (moved[name] - value).norm()


STOP = """
from pathlib import Path
from pytorch_lightning import Callback
class Stop(Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        told = Path(f"told_{trainer.global_rank}")
        if trainer.current_epoch == 2 and not told.exists():
            told.touch()
            raise KeyboardInterrupt
"""


@pytest.mark.slow
def test_two_processes_that_were_broken_off_go_on_as_one(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(workdir))
    (workdir / "stop.py").write_text(STOP)
    words = ["privacy.dp_sgd.noise_seed=0", "privacy.dp_sgd.engine=hooks"]
    whole = trained(workdir, *words, "trainer.max_epochs=3")
    assert main(["run", *FEW, *words, *TOGETHER, "trainer.callbacks=[{_target_:stop.Stop}]"]) != 0
    (half,) = {*(workdir / "outputs").glob("*/")} - {whole}
    assert main(["resume", str(half)]) == 0
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(half)[name], value, rtol=0, atol=2e-5)
    rows = [{row.name: row for row in StoredRun(run).scorecard.measurements()} for run in (whole, half)]
    one, two = (found["privacy.dp_sgd.epsilon"] for found in rows)
    assert (one.value, one.status) == (pytest.approx(two.value), two.status)


SAME = """
import torch
from pytorch_lightning import Callback
class Same(Callback):
    def on_train_end(self, trainer, pl_module):
        flat = torch.cat([weight.detach().reshape(-1) for weight in pl_module.parameters()])
        others = [torch.empty_like(flat) for _ in range(trainer.world_size)]
        torch.distributed.all_gather(others, flat)
        assert len(others) == 2 and all(torch.equal(flat, other) for other in others)
"""


@pytest.mark.slow
def test_without_a_seed_they_agree_on_fresh_noise(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(workdir))
    (workdir / "same.py").write_text(SAME)
    words = [*TOGETHER, "trainer.callbacks=[{_target_:same.Same}]"]
    first, second = (weights(trained(workdir, *words))["model.layers.2.weight"] for _ in range(2))
    assert (first - second).abs().max() > 1e-3


@pytest.mark.slow
def test_canaries_are_refused_in_two_processes(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["privacy=[dp_sgd,canaries]", "trainer=ddp", "trainer.max_epochs=1"]
    assert main(["run", *FEW, *words]) == 2
    assert "trainer.devices=1" in capsys.readouterr().err


def test_weights_in_shards_are_refused(workdir: Path) -> None:
    assert main(["run", *FEW, "trainer=fsdp2", "trainer.max_epochs=1"]) == 2
