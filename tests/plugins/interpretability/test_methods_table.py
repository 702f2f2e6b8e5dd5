import torch
from torch import nn

from small_runs import TABLE, Points, frozen, table_task
from steelyard.measurement import Measurement, Table
from steelyard_interpretability import Faithfulness
from steelyard_interpretability._faithfulness import FaithfulnessAttachment

FEW = Faithfulness(
    methods=("saliency", "grad_cam"), samples=4, random_orders=1, neighbours=0, stages=1, draws=4, pictures=0
)


def test_faithfulness_lists_methods_by_measures_and_why_one_is_refused() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(20, 6)
    run = frozen(table_task(nn.Linear(6, 2)), Points(inputs, (inputs[:, 0] > 0).long()), adapter=TABLE)
    items = [*FaithfulnessAttachment(FEW).measure(run)]
    (table,) = [item for item in items if isinstance(item, Table)]
    assert [*table.columns] == ["measure", "saliency", "grad cam"]
    rows = {str(row[0]): row[1:] for row in table.rows}
    assert {"deletion gap", "insertion gap", "infidelity", "sparseness"} <= {*rows}
    assert "no convolution" in str(rows["refused because, or what to keep in mind"][1])
    assert rows["deletion gap"][1] is None
    told = [item for item in items if isinstance(item, Measurement) and item.at == {"method": "saliency"}]
    (gap,) = [item.value for item in told if item.name == "insertion_gap"]
    assert gap is not None
    assert str(rows["insertion gap"][0]).startswith(f"{round(gap, 4):g}")
