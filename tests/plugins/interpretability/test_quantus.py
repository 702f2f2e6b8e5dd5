"""Measures of Quantus by name; those that call it need it installed."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from small_runs import IMAGES, Points, frozen, table_task
from steelyard.measurement import Measurement, Status
from steelyard_interpretability._faithfulness import FaithfulnessAttachment
from steelyard_interpretability.faithfulness import Faithfulness

pytestmark = pytest.mark.filterwarnings("ignore")


def test_without_the_library_it_is_refused_and_a_name_is_not_taken_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    draft: Any = None
    monkeypatch.setattr("steelyard_interpretability.faithfulness.find_spec", lambda name: None)
    missing, twice = Faithfulness(quantus=("Sparseness", "Sparseness")).preflight(draft)
    assert "pip install 'steelyard[quantus]'" in missing.message
    assert twice.fix == "interpretability.faithfulness.quantus=[Sparseness]"
    assert not [*Faithfulness().preflight(draft)]


def test_measures_are_those_of_quantus_called_by_hand() -> None:
    quantus: Any = pytest.importorskip("quantus")
    torch.manual_seed(0)
    task = table_task(nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 3)), classes=3)
    data = Points(torch.rand(20, 1, 8, 8), torch.arange(20) % 3)
    run = frozen(task, data, adapter=IMAGES)
    names = ("Sparseness", "PixelFlipping", "MaxSensitivity", "RandomLogit", "MPRT", "NoSuchThing")
    plugin = Faithfulness(
        methods=("input_x_gradient",), samples=4, quantus=names, pictures=0, neighbours=0, stages=1, draws=4
    )
    items = [*FaithfulnessAttachment(plugin).measure(run)]
    rows = {i.at["measure"]: i for i in items if isinstance(i, Measurement) and i.name == "quantus"}
    assert [*rows] == [*names]
    assert rows["NoSuchThing"].status is Status.SKIPPED
    assert "Sparseness" in rows["NoSuchThing"].note
    assert all(rows[name].value is not None for name in names[:-1]), {n: r.note for n, r in rows.items()}
    assert rows["Sparseness"].count == 4

    inputs, _ = run.batch("val", [2, 7, 12, 17])
    mean = torch.cat([part for part, _ in data.val_dataloader()]).mean(dim=0)
    leaf = inputs.clone().requires_grad_()
    chosen = task(inputs).argmax(dim=1)
    (slope,) = torch.autograd.grad(task(leaf).gather(1, chosen[:, None]).sum(), leaf)
    maps = ((inputs - mean) * slope).double().numpy()
    by_hand = {"Sparseness": {}, "PixelFlipping": {"return_auc_per_sample": True}}
    for name, settings in by_hand.items():
        np.trapz = np.trapezoid  # type: ignore[attr-defined]
        try:
            right = getattr(quantus, name)(disable_warnings=True, **settings)(
                model=task, x_batch=inputs.numpy(), y_batch=chosen.numpy(), a_batch=maps, softmax=True, device="cpu"
            )
        finally:
            del np.trapz  # type: ignore[attr-defined]
        assert rows[name].value == pytest.approx(float(np.mean(right)), abs=1e-6)


def test_numpy_has_not_the_name_that_is_lent() -> None:
    assert not hasattr(np, "trapz")
