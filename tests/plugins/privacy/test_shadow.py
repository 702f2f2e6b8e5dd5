"""Shadow models of real trainings: those that memorise are found, private and untrained ones are not."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pytorch_lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, SubsetRandomSampler

from private_runs import Examples, Task, data, examples, make_draft
from small_runs import TABLE, frozen, table_task
from steelyard import assembly
from steelyard.measurement import Measurement, Status, Table
from steelyard.plugin import Plugin
from steelyard.scorecard import Scorecard, Section, StoredArtefact
from steelyard.selection import Selected
from steelyard.stored import StoredRun
from steelyard_privacy import DPSGD, Canaries, Shadow
from steelyard_privacy._shadow import COLUMNS, KEY, ShadowModel, half

SIZE, MODELS = 120, 6
EPSILON = 0.5


def private(model: int) -> DPSGD:
    """With noise of each model's own: siblings that share it could be told apart as if there were none."""
    return DPSGD(target_epsilon=EPSILON, noise_seed=model, engine="hooks")


@dataclass(frozen=True)
class Fitted:
    task: Task
    shadow: ShadowModel
    account: Any
    seen: int


class Counting(Task):
    """Knows how many different examples it was shown."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.shown: set[tuple[float, ...]] = set()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.shown |= {tuple(row) for row in batch[0].tolist()}
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.02)


def fitted(plugins: Sequence[Plugin], *, epochs: int, module: Examples | None = None) -> Fitted:
    names = {Shadow: KEY, DPSGD: "privacy.dp_sgd", Canaries: "privacy.canaries"}
    selected = [Selected(names[type(plugin)], plugin) for plugin in plugins]
    torch.manual_seed(0)
    task = Counting(nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 3)))
    module = module or data(SIZE, batch_size=30)
    draft = make_draft(task, module, max_epochs=epochs)
    attachments = assembly.attach(selected, draft)
    with assembly.wrapped(draft):
        Trainer(**draft.trainer, callbacks=assembly.callbacks(selected, attachments)).fit(task, datamodule=module)
    shadow, account = attachments[KEY], attachments.get("privacy.dp_sgd")
    assert isinstance(shadow, ShadowModel)
    return Fitted(task, shadow, account, len(task.shown))


def known(model: Fitted) -> list[Measurement | Any]:
    run = frozen(table_task(model.task.model, classes=3), data(SIZE), adapter=TABLE)
    return list(model.shadow.measure(run))


def folder(place: Path, table: Table, *, model: int, data: str = "abc", lr: float = 0.1) -> StoredRun:
    """A run folder as the core writes it."""
    file = place / "privacy" / "shadow" / "known.csv"
    file.parent.mkdir(parents=True)
    file.write_text("\n".join([",".join(COLUMNS), *(",".join(map(str, row)) for row in table.rows)]) + "\n")
    kept = StoredArtefact(kind="table", title=table.title, path="privacy/shadow/known.csv", split="train")
    section = Section(key=KEY, status=Status.SKIPPED, settings={"model": model}, artefacts=(kept,))
    card = Scorecard(title="mlp", spec="s", seed=0, sections=(section,), choices={"model": "mlp"})
    (place / "scorecard.json").write_text(json.dumps(card.to_json()))
    config = {"seed": 0, "optimizer": {"lr": lr}, "privacy": {"shadow": {"model": model}}}
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    (place / "provenance.json").write_text(json.dumps({"data_fingerprint": data, "choices": {"model": "mlp"}}))
    return StoredRun(place)


@cache
def tables(*, noisy: bool, epochs: int) -> tuple[Table, ...]:
    found: list[Table] = []
    for model in range(MODELS):
        plugins = [Shadow(model=model), *([private(model)] if noisy else [])]
        items = known(fitted(plugins, epochs=epochs))
        found += [item for item in items if isinstance(item, Table)]
    return tuple(found)


def judged(place: Path, kept: Sequence[Table], **others: Any) -> dict[str, Measurement]:
    runs = [folder(place / str(model), table, model=model, **others) for model, table in enumerate(kept)]
    return {item.name: item for item in Shadow().compare(runs) if isinstance(item, Measurement)}


def test_models_that_learn_by_heart_are_found(tmp_path: Path) -> None:
    found = judged(tmp_path, tables(noisy=False, epochs=60))
    assert {item.status for item in found.values()} == {Status.MEASURED}
    for name in ("lira_auc", "rmia_auc"):
        assert found[name].interval is not None
        assert found[name].interval[0] > 0.6
        assert found[name].split == "train"
    assert found["epsilon_lower_bound"].value > 0.5
    assert found["epsilon_lower_bound"].bounds == "privacy.dp_sgd.epsilon"
    assert found["lira_auc"].note.startswith("LiRA (Carlini et al. 2022) with 6 models on random halves; mean over 6")


@pytest.mark.parametrize(
    ("noisy", "epochs"),
    [pytest.param(True, 8, marks=pytest.mark.slow, id="private"), pytest.param(False, 0, id="untrained")],
)
def test_models_that_learn_nobody_by_heart_are_not_accused(tmp_path: Path, noisy: bool, epochs: int) -> None:
    found = judged(tmp_path, tables(noisy=noisy, epochs=epochs))
    assert {item.status for item in found.values()} == {Status.MEASURED}
    for name in ("lira_auc", "rmia_auc"):
        low, high = found[name].interval or (1.0, 0.0)
        assert low < 0.5 < high
    assert found["epsilon_lower_bound"].value < EPSILON
    assert (found["lira_tpr_at_low_fpr"].interval or (1.0,))[0] <= 0.01


def test_few_siblings_say_what_is_missing(tmp_path: Path) -> None:
    found = judged(tmp_path, tables(noisy=False, epochs=0)[:5])
    assert {item.status for item in found.values()} == {Status.MEASURED}
    alone = judged(tmp_path / "alone", tables(noisy=False, epochs=0)[:4])
    assert {item.status for item in alone.values()} == {Status.SKIPPED}
    assert "4 siblings" in alone["epsilon_lower_bound"].note
    assert not judged(tmp_path / "none", [])


def test_each_config_is_attacked_with_its_own_models_and_on_its_own_examples(tmp_path: Path) -> None:
    kept = tables(noisy=False, epochs=0)
    runs = [
        folder(tmp_path / f"{lr}{model}", kept[model], model=model, lr=lr)
        for lr in (0.1, 0.2)
        for model in range(MODELS)
    ]
    strange = Table(name="known", title="", columns=COLUMNS, rows=[[1, 0.5], [0, 0.7]], split="train")
    runs.append(folder(tmp_path / "strange", strange, model=7))
    found = [item for item in Shadow().compare(runs) if isinstance(item, Measurement) and item.name == "rmia_auc"]
    assert [item.at["config"] for item in found] == ["lr=0.1", "lr=0.2"]
    assert all("with 6 models" in item.note for item in found)


def test_an_attack_that_sees_nothing_makes_it_invalid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from steelyard_privacy import _shadow_verdict

    def blind(losses: Any, members: Any, target: int) -> Any:
        return np.arange(members.shape[1], dtype=float) % 7

    monkeypatch.setattr(_shadow_verdict, "ATTACKS", {"rmia": ("blind", blind)})
    found = judged(tmp_path, tables(noisy=False, epochs=0))
    assert {item.status for item in found.values()} == {Status.INVALID}
    assert "control: models that know their halves by heart are not caught" in found["rmia_auc"].note


def test_a_file_that_holds_no_losses_is_an_error(tmp_path: Path) -> None:
    run = folder(tmp_path / "a", tables(noisy=False, epochs=0)[0], model=0)
    (run.folder / "privacy" / "shadow" / "known.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="holds no losses"):
        list(Shadow().compare([run]))


def test_private_training_draws_from_the_half_alone() -> None:
    """The noise follows from the size of the half, and nobody of the rest is ever shown."""
    found = fitted([private(3), Canaries(count=20), Shadow(model=3)], epochs=3)
    members = int(half(SIZE, model=3).sum())
    assert found.account._account.population == members
    assert found.account._account.rate == pytest.approx(30 / members)
    assert found.account._account.epsilon <= EPSILON
    assert 0.9 * members < found.seen <= members


def test_a_half_of_a_subset_is_within_it() -> None:
    dataset, chosen = examples(80), [*range(10, 50)]
    draft = make_draft(Task(), Examples(lambda: DataLoader(dataset, 8, sampler=SubsetRandomSampler(chosen))))
    Shadow(model=1).attach(draft)
    (cut,) = draft.loaders
    rows = {tuple(row) for batch in cut(draft.data.train_dataloader()) for row in batch[0].tolist()}
    members = half(len(chosen), model=1)
    assert rows == {
        tuple(dataset.tensors[0][place].tolist()) for place, inside in zip(chosen, members, strict=True) if inside
    }


def test_who_does_not_train_is_skipped() -> None:
    draft = make_draft(Task(), data(SIZE))
    shadow: Any = Shadow().attach(draft)
    run = frozen(draft.task, draft.data, adapter=TABLE, trained=False)
    assert {row.status for row in shadow.measure(run)} == {Status.SKIPPED}


def test_data_that_cannot_be_halved_are_refused() -> None:
    few = list(Shadow().preflight(make_draft(Task(), data(12))))
    odd = list(Shadow().preflight(make_draft(Task(), Examples(lambda: [1, 2, 3]))))
    assert "12 training examples are too few" in few[0].message
    assert "not one torch DataLoader" in odd[0].message
    assert [problem.level for problem in (*few, *odd)] == ["error", "error"]
    note, *rest = Shadow().preflight(make_draft(Task(), data(SIZE)))
    assert (note.level, rest) == ("note", [])


def test_a_run_asks_for_its_siblings() -> None:
    assert [*Shadow(models=6).trials({})] == [(f"privacy.shadow.model={model}",) for model in range(6)]
