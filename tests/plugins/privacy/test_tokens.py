"""Min-K%: texts judged by their least likely tokens."""

from functools import partial
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from small_runs import frozen
from steelyard.adapters import IGNORED, TokenScoring
from steelyard.adapters.table import TableAdapter
from steelyard.measurement import Measurement, Status
from steelyard.tasks import Classification
from steelyard_privacy._membership import MembershipAttack
from steelyard_privacy._tokens import lowest_mean
from steelyard_privacy.membership import Membership

WORDS, LENGTH, COUNT = 50, 10, 80


@pytest.mark.parametrize("share", [0.2, 0.55, 1.0])
def test_the_mean_is_that_of_sorted_lists(share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(6, 9, generator=generator)
    counted = torch.rand(6, 9, generator=generator) < 0.7
    counted[0] = False
    found = lowest_mean(values, counted, share=share)
    for row in range(6):
        lowest = sorted(values[row][counted[row]].tolist())
        taken = lowest[: max(1, int(share * len(lowest)))]
        assert float(found[row]) == pytest.approx(sum(taken) / len(taken) if taken else 0.0, abs=1e-6)


class Texts(LightningDataModule):
    """The number of a text, and its random tokens, of which the last are padding."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.tokens = torch.randint(0, WORDS, (3 * COUNT, LENGTH), generator=generator)
        self.tokens[::3, -4:] = IGNORED

    def _loader(self, start: int) -> Any:
        return DataLoader(
            [(torch.tensor([float(index)]), self.tokens[index]) for index in range(start, start + COUNT)], batch_size=32
        )

    def train_dataloader(self) -> Any:
        return self._loader(0)

    def val_dataloader(self) -> Any:
        return self._loader(COUNT)

    def test_dataloader(self) -> Any:
        return self._loader(2 * COUNT)


class Parrot(nn.Module):
    """Knows one rare token of each training text better than chance, and nothing else."""

    def __init__(self, tokens: Tensor) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, inputs: Tensor) -> Tensor:
        numbers = inputs[:, 0].long()
        generator = torch.Generator().manual_seed(1)
        logits = torch.randn(3 * COUNT, LENGTH, WORDS, generator=generator)[numbers]
        own = self.tokens[numbers].clamp(min=0)[:, :, None]
        known = (numbers < COUNT)[:, None, None].expand(-1, LENGTH, 1)
        # A training text has no token that surprises the model much.
        floor = torch.where(known, logits.gather(2, own).clamp(min=0.0), logits.gather(2, own))
        return logits.scatter(2, own, floor)


def attacked(*, scoring: Any) -> dict[str, Measurement]:
    data = Texts()
    optimizer = partial(torch.optim.SGD, lr=0.1)
    task = Classification(model=Parrot(data.tokens), optimizer=optimizer, classes=WORDS)
    run = frozen(task, data, adapter=TableAdapter(scoring=scoring, bounds=None))
    items = MembershipAttack(Membership()).measure(run)
    return {item.name: item for item in items if isinstance(item, Measurement)}


def test_the_least_likely_tokens_give_more_away_than_all() -> None:
    found = attacked(scoring=TokenScoring())
    assert found["auc_min_k"].status is found["auc"].status is Status.MEASURED
    assert found["auc_min_k"].value > found["auc"].value > 0.5
    assert found["auc_min_k"].count == 2 * COUNT
    assert "20% least likely" in found["auc_min_k"].note
