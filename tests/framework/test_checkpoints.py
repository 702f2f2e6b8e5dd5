import errno
import resource
import sys
from pathlib import Path

import pytest
import torch

from helpers.forked import Forked
from steelyard.checkpoints import AtomicCheckpointIO, load
from steelyard.problem import Refused


def content(size: int = 10) -> dict[str, object]:
    return {"state_dict": {"w": torch.arange(float(size))}, "epoch": 3}


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "made" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(content(), path)
    assert torch.equal(load(path)["state_dict"]["w"], torch.arange(10.0))
    assert list(path.parent.iterdir()) == [path]
    AtomicCheckpointIO().remove_checkpoint(path)
    AtomicCheckpointIO().remove_checkpoint(path)
    assert not path.exists()


def test_a_full_disk_keeps_the_old_checkpoint(workdir: Path) -> None:
    path = workdir / "kept" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(content(), path)
    before = path.read_bytes()

    def write() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            AtomicCheckpointIO().save_checkpoint({"state_dict": {"w": torch.zeros(10**6)}}, path)
        except OSError as error:
            print(error.errno, error.filename, file=sys.stderr)
        return 0

    assert Forked(write).end() == f"{errno.EFBIG} {path}\n"
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("weights_only", [None, False])
def test_a_pickle_is_never_run(tmp_path: Path, weights_only: bool | None) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}, "evil": Path("x")}, path)
    with pytest.raises(Refused, match="more than tensors and plain values"):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=weights_only)


def test_what_is_no_lightning_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"w": torch.zeros(1)}, path)
    with pytest.raises(Refused, match="has no state_dict"):
        load(path)
