from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from helpers import tiny
from steelyard import building
from steelyard.problem import Refused


def test_what_is_missing_comes_from_the_data() -> None:
    config = OmegaConf.create(
        {"model": {"classes": "???", "deep": {"input_shape": "???"}, "given": 3}, "task": {"model": "${model}"}}
    )
    filled = building.fill(config, {"classes": 10, "input_shape": (1, 8, 8), "given": 4})
    assert filled.task.model == {"classes": 10, "deep": {"input_shape": [1, 8, 8]}, "given": 3}
    assert OmegaConf.is_missing(config.model, "classes")


def test_what_nobody_knows_is_refused_all_at_once() -> None:
    config = OmegaConf.create({"model": {"width": "???"}, "task": {"model": "${model}", "depth": "???"}})
    with pytest.raises(Refused) as caught:
        building.fill(config, {})
    assert [problem.fix for problem in caught.value.problems] == ["model.width=...", "task.depth=..."]


def test_options_that_another_task_left_behind_are_to_be_left_out() -> None:
    config = OmegaConf.create({"model": {}, "task": {"_target_": "my.Net", "classes": "???"}})
    with pytest.raises(Refused) as caught:
        building.fill(config, {})
    assert [problem.fix for problem in caught.value.problems] == [
        "task=custom task._target_=my.Net",
        "task.classes=...",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": {"_target_": "nowhere.Net"}}, "task cannot be made: nowhere.Net"),
        ({"task": {"_target_": "torch.nn.Identity"}}, "is no LightningModule"),
        ({"data": {"_target_": "torch.nn.Identity"}}, "is no LightningDataModule"),
        ({"model": {"no_such_argument": 1}}, "no_such_argument"),
        ({"task": {"modality": "smell"}}, "smell"),
    ],
)
def test_what_cannot_be_made_is_refused_with_a_reason(changes: dict[str, object], message: str) -> None:
    with pytest.raises(Refused, match=message):
        tiny.draft(**changes)


def test_an_option_of_another_model_is_to_be_left_out() -> None:
    with pytest.raises(Refused) as caught:
        tiny.draft(model={"no_such_argument": 1})
    assert [problem.fix for problem in caught.value.problems] == ["~model.no_such_argument"]


def test_what_a_class_of_ones_own_must_have_comes_from_the_data() -> None:
    config = tiny.config()
    config.model = {"_target_": "torch.nn.Linear"}
    with pytest.raises(Refused, match="missing 2 required") as caught:
        building.make_draft(config, building.make_data(config))
    assert [problem.fix for problem in caught.value.problems] == ["+model.in_features=??? +model.out_features=???"]
    config.model.update({"in_features": "???", "out_features": "???"})
    with pytest.raises(Refused) as caught:
        building.make_draft(config, building.make_data(config))
    assert [problem.fix for problem in caught.value.problems] == ["model.in_features=...", "model.out_features=..."]


def test_the_first_weights_depend_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from steelyard import experiment

    monkeypatch.setattr(experiment, "plugins_of", lambda _: ())
    made: list[torch.Tensor] = []
    for draws in (0, 5):
        torch.rand(draws)
        order = experiment.Order(config=tiny.config(seed=3), choices={}, overrides=[])
        prepared = experiment.prepare(order)
        made.append(next(prepared.draft.task.parameters()))
    assert torch.equal(*made)


def test_a_group_without_a_class_is_refused() -> None:
    config = tiny.config()
    config.data._target_ = "???"
    with pytest.raises(Refused, match="data names no class"):
        building.make_data(config)


def test_the_reason_of_a_refusal_inside_is_kept(tmp_path: Path) -> None:
    config = tiny.config()
    config.data = {"_target_": "steelyard.data.Idx", "root": str(tmp_path / "nothing")}
    with pytest.raises(Refused, match=r"data\.root"):
        building.make_data(config)


def test_who_names_no_modality_gets_a_guess_at_their_batches() -> None:
    data = building.make_data(tiny.config())
    data.modality = None
    batch = [torch.zeros(4, 30), torch.zeros(4, dtype=torch.long)]
    data.test_dataloader = lambda: [batch]
    with pytest.raises(Refused, match="what the inputs are") as caught:
        building.make_draft(tiny.config(), data)
    assert caught.value.problems[0].fix == "task.modality=table"
    data.test_dataloader = lambda: [][0]
    with pytest.raises(Refused, match="what the inputs are"):
        building.make_draft(tiny.config(), data)
