"""`steelyard weigh` refuses a checkpoint that it cannot trust, or that is of another model, by name."""

import pickle
from pathlib import Path

import pytest
import torch

from steelyard.cli import main

QUICK = ("interpretability=none", "privacy=none", "stability=none", "trainer.enable_progress_bar=false")


class Deadly:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("it_ran"),)  # type: ignore[return-value]


def weigh(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["weigh", *words.split(), *QUICK]) == 2
    return " ".join(capsys.readouterr().err.split())


def test_a_checkpoint_of_another_shape_names_the_weights(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "trainer.max_epochs=1", *QUICK]) == 0
    (kept,) = workdir.glob("outputs/*/checkpoints/last.ckpt")
    said = weigh(f"ckpt={kept} model.hidden=[64]", capsys)
    assert "holds another model" in said
    assert "size mismatch for model.layers.2.weight" in said
    assert "as it was trained" in said


def test_of_a_model_of_another_kind_a_few_weights_are_named(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "trainer.max_epochs=1", "model=resnet", *QUICK]) == 0
    (kept,) = workdir.glob("outputs/*/checkpoints/last.ckpt")
    said = weigh(f"ckpt={kept} model=mlp", capsys)
    assert said.count('"model.') <= 6
    assert "more; Unexpected key(s) in state_dict" in said


def test_a_pickle_is_refused_and_never_run(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, wrapped = workdir / "plain.ckpt", workdir / "wrapped.ckpt"
    plain.write_bytes(pickle.dumps({"state_dict": {}, "extra": Deadly()}))
    torch.save({"state_dict": {}, "extra": Deadly()}, wrapped)
    for file in (plain, wrapped):
        said = weigh(f"ckpt={file}", capsys)
        assert file.name in said
    assert "holds more than tensors and plain values" in said
    assert not Path("it_ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_refused(content: bytes, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "bad.ckpt").write_bytes(content)
    assert "bad.ckpt" in weigh("ckpt=bad.ckpt", capsys)


def test_a_file_that_is_not_there_is_refused(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no checkpoint" in weigh("ckpt=nowhere.ckpt", capsys)


def test_tensors_that_are_no_checkpoint_are_refused(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": torch.zeros(2)}, workdir / "weights.ckpt")
    assert "no state_dict" in weigh("ckpt=weights.ckpt", capsys)
