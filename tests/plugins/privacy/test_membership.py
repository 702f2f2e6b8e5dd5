"""Membership inference on real models: the memoriser is caught, the innocent is not, and broken splits are invalid."""

from typing import Any

import pytest
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from small_runs import TABLE, bits, frozen, same_bits, streams, table_task
from steelyard.measurement import Measurement, Picture, Status
from steelyard_privacy._membership import MembershipAttack
from steelyard_privacy.membership import Membership

# So many classes that hardly any label is right by chance.
FEATURES, CLASSES = 20, 200


class Splits(LightningDataModule):
    """Inputs without any meaning, labelled at random."""

    def __init__(self, *, count: int = 120, scale: float = 1.0, without: tuple[str, ...] = ()) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.parts: dict[str, TensorDataset] = {}
        for name in ("train", "val", "test"):
            inputs = torch.randn(count, FEATURES, generator=generator) * (scale if name == "test" else 1.0)
            self.parts[name] = TensorDataset(inputs, torch.randint(0, CLASSES, (count,), generator=generator))
        for name in without:
            del self.parts[name]

    def _loader(self, name: str) -> Any:
        if name not in self.parts:
            return getattr(super(), f"{name}_dataloader")()
        return DataLoader(self.parts[name], batch_size=50)

    def train_dataloader(self) -> Any:
        return self._loader("train")

    def val_dataloader(self) -> Any:
        return self._loader("val")

    def test_dataloader(self) -> Any:
        return self._loader("test")


def learnt(data: Splits, *, steps: int) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(FEATURES, 256), nn.ReLU(), nn.Linear(256, CLASSES))
    inputs, targets = data.parts["train"].tensors
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    return model


def attacked(data: Splits, model: nn.Module, plugin: Membership | None = None) -> dict[str, Measurement]:
    run = frozen(table_task(model, classes=CLASSES), data, adapter=TABLE)
    items = list(MembershipAttack(plugin or Membership()).measure(run))
    return {item.name: item for item in items if isinstance(item, Measurement)}


def test_a_model_that_memorises_is_caught() -> None:
    data = Splits()
    found = attacked(data, learnt(data, steps=150))
    assert found["auc"].status is Status.MEASURED
    assert "auc_min_k" not in found  # there are no tokens
    assert found["auc"].interval[0] > 0.9
    assert found["tpr_at_low_fpr"].value > 0.3
    assert found["auc"].split == found["tpr_at_low_fpr"].split == "train"


def test_a_model_that_learnt_nothing_is_not_accused() -> None:
    data = Splits()
    found = attacked(data, learnt(data, steps=0))
    assert found["auc"].interval[0] < 0.5 < found["auc"].interval[1]
    assert found["tpr_at_low_fpr"].interval[0] < 0.01


def test_the_controls_say_what_they_found() -> None:
    data = Splits()
    found = attacked(data, learnt(data, steps=50))
    assert found["unseen_auc"].interval[0] <= 0.5 <= found["unseen_auc"].interval[1]
    assert found["unseen_auc"].level == 0.999
    assert found["memoriser_auc"].interval[0] > 0.5
    assert [name for name, row in found.items() if not row.meaning] == []


def test_splits_that_are_not_comparable_make_it_invalid() -> None:
    """Test examples of another kind have other losses without anybody having memorised anything."""
    data = Splits(scale=5.0)
    found = attacked(data, learnt(data, steps=150))
    assert found["auc"].status is Status.INVALID
    assert "unseen_auc" in found["auc"].note
    assert found["tpr_at_low_fpr"].status is Status.INVALID


def test_an_attack_that_catches_nobody_makes_it_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    from steelyard_privacy import _membership

    def blind(members: Any, others: Any, *, seed: int) -> Any:
        return torch.rand(len(members)).numpy(), torch.rand(len(others)).numpy()

    monkeypatch.setattr(_membership, "memorised", blind)
    data = Splits()
    found = attacked(data, learnt(data, steps=10))
    assert found["auc"].status is Status.INVALID
    assert "memoriser_auc" in found["auc"].note


def test_without_validation_the_test_split_is_halved() -> None:
    data = Splits(without=("val",))
    found = attacked(data, learnt(data, steps=10))
    assert "two halves" in found["unseen_auc"].note
    assert found["unseen_auc"].count == 120


def test_without_test_split_it_is_skipped() -> None:
    data = Splits(without=("test",))
    found = attacked(data, learnt(data, steps=0))
    assert {item.status for item in found.values()} == {Status.SKIPPED}


def test_both_sides_have_the_same_size() -> None:
    data = Splits()
    found = attacked(data, learnt(data, steps=0), Membership(examples=60))
    assert (found["auc"].count, found["tpr_at_low_fpr"].count) == (120, 120)


@pytest.mark.parametrize("count", [40, 120])
def test_few_examples_say_how_coarse_they_are(count: int) -> None:
    data = Splits(count=count)
    found = attacked(data, learnt(data, steps=0))
    assert f"{count // 100} of {count} non-members" in found["tpr_at_low_fpr"].note


def test_a_loss_that_is_no_number_speaks_against_membership() -> None:
    class Broken(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            logits = inputs.repeat(1, CLASSES // FEATURES)
            logits[::7] = torch.nan
            return logits

    found = attacked(Splits(), Broken())
    assert 0 < found["auc"].value < 1


def test_it_leaves_no_trace_and_repeats_itself() -> None:
    data = Splits()
    model = learnt(data, steps=20)
    before, random = bits(model), streams()
    first, second = attacked(data, model), attacked(data, model)
    assert first == second
    assert same_bits(before, bits(model))
    assert streams() == random


def test_there_is_a_picture_of_training_data() -> None:
    data = Splits()
    run = frozen(table_task(learnt(data, steps=5), classes=CLASSES), data, adapter=TABLE)
    pictures = [item for item in MembershipAttack(Membership()).measure(run) if isinstance(item, Picture)]
    assert [(picture.name, picture.split) for picture in pictures] == [("roc", "train")]
    assert pictures[0].png.startswith(b"\x89PNG")
