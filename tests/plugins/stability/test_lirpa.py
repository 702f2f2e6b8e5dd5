"""Bounds by auto_LiRPA: ours where both know them, sound where ours know none, and no trace of it afterwards."""

import importlib
import sys
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.chains import POINTS, apart, box, perceptron
from helpers.forked import in_a_fork
from small_runs import IMAGES, Points, bits, digits_task, flags, frozen, same_bits
from steelyard.measurement import Measurement, Status
from steelyard.measuring import looking
from steelyard.models import ResNet
from steelyard_stability import Certified, _lirpa
from steelyard_stability._bounds import doubled, margins
from steelyard_stability._certified import CertifiedAttachment
from steelyard_stability._staging import Stage, stage
from steelyard_stability.certified import INSTALL, Prover

installed = pytest.mark.skipif(find_spec("auto_LiRPA") is None, reason=INSTALL)


class Residual(nn.Module):
    """Two ways that meet again, with a convolution and a batch norm in one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.norm, self.last = nn.BatchNorm2d(3), nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        bent = self.first(inputs).relu()
        return self.last((self.norm(self.second(bent)) + bent).relu().mean(dim=(2, 3)))


def pooled() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, (2, 1)), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3))


def convolutions() -> nn.Sequential:
    norm = nn.BatchNorm2d(3)
    norm.running_mean, norm.running_var = torch.tensor([0.1, -0.2, 0.3]), torch.tensor([0.5, 2.0, 1.0])
    nn.init.constant_(norm.weight, -0.7)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=(0, 1)), norm, nn.ReLU(inplace=True), nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def bent(layer: type[nn.Module]) -> Any:
    return lambda: nn.Sequential(nn.Flatten(), nn.Linear(20, 8), layer(), nn.Linear(8, 3))


OTHERS = {
    "residual": Residual,
    "pooled": pooled,
    "resnet": lambda: ResNet(input_shape=(1, 5, 4), classes=3, widths=(8, 8), depths=(1, 1)),
    "tanh": bent(nn.Tanh),
    "sigmoid": bent(nn.Sigmoid),
    "silu": bent(nn.SiLU),
}


def seen(model: nn.Module) -> Stage:
    return stage(frozen(digits_task(model), Points(POINTS, torch.zeros(6).long())), range(6), spread=None)


def library() -> Any:
    return importlib.import_module("steelyard_stability._lirpa").Library


@installed
@pytest.mark.parametrize("chain", [perceptron, convolutions])
@pytest.mark.parametrize("radius", [0.0, 0.01, 0.3])
def test_of_a_chain_it_says_what_ours_say(chain: Callable[[], nn.Sequential], radius: float) -> None:
    torch.manual_seed(2)
    model = chain().eval()
    whole = seen(model)

    found = library()(whole).margins(box(radius), whole.decisions)

    own = margins(doubled([*model]), box(radius), whole.decisions)
    # Far away the lines under a ReLU hang on the bounds of the layers before, which each narrows in its own way.
    torch.testing.assert_close(found, own, rtol=1e-6 if radius < 0.1 else 0.02, atol=1e-9)


@installed
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("radius", [0.01, 0.1])
def test_of_others_no_point_of_the_box_is_below_the_bound(name: str, radius: float) -> None:
    torch.manual_seed(2)
    model = OTHERS[name]()
    whole = seen(model)

    found = library()(whole).margins(box(radius), whole.decisions)

    exact = model.eval().double()
    signs = torch.randint(0, 2, (400, *POINTS.shape), generator=torch.Generator().manual_seed(3)).double() * 2 - 1
    with torch.no_grad():
        least = torch.stack([apart(exact(POINTS.double() + radius * sign), whole.decisions) for sign in signs])
        centre = apart(exact(POINTS.double()), whole.decisions)
    assert bool((found <= least.amin(dim=0) + 1e-9).all())
    # And not so far below that it would say nothing: less than ten times as far as a point was found.
    assert bool((centre - found <= 10 * (centre - least.amin(dim=0)) + 1e-9).all())


@installed
@pytest.mark.parametrize("limits", [{"ROWS": 6}, {"MANY": 2}])
def test_of_a_wide_layer_it_bounds_a_part_at_a_time_and_says_nothing(
    limits: dict[str, int], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(2)
    model = convolutions().eval()
    whole = seen(model)
    at_once = library()(whole).margins(box(0.3), whole.decisions)

    for name, limit in limits.items():
        monkeypatch.setattr(f"steelyard_stability._lirpa.{name}", limit)
    found = library()(whole).margins(box(0.3), whole.decisions)

    if "ROWS" in limits:
        torch.testing.assert_close(found, at_once)
    else:  # where the rest keeps its intervals
        assert bool((found <= at_once + 1e-9).all())
        assert bool((found < at_once - 1e-6).any())
    assert capfd.readouterr() == ("", "")


def told(model: nn.Module, **options: Any) -> dict[tuple[Any, ...], Measurement]:
    task = digits_task(model)
    run = frozen(task, Points(POINTS, torch.zeros(6).long()), adapter=IMAGES)
    before = bits(task), flags(task)
    plugin = Certified(examples=6, selection=10, looks=(10,), max_seconds=None, bounds_by=Prover.AUTO_LIRPA, **options)
    with looking(run.task):
        rows = [row for row in CertifiedAttachment(plugin).measure(run) if isinstance(row, Measurement)]
    assert same_bits(before[0], bits(task))
    assert flags(task) == before[1]
    return {(row.name, *row.at.values()): row for row in rows}


@installed
def test_a_residual_model_is_proved_near_and_not_far() -> None:
    torch.manual_seed(5)
    model = Residual()
    nn.init.zeros_(model.last.bias)
    rows = told(model, bounds=(0.0001, 0.9))

    assert rows["proved", 0.0001].value == 1
    assert (rows["proved", 0.9].value or 0) < 1
    assert rows["proved", 0.0001].status is Status.MEASURED
    assert "CROWN by auto_LiRPA" in rows["proved", 0.0001].note


@installed
@pytest.mark.parametrize(("layer", "word"), [(nn.GELU, "onnx::Erf"), (nn.ELU, "onnx::Elu")])
def test_an_operation_that_it_does_not_know_is_a_skip_that_names_it(
    layer: type[nn.Module], word: str, capfd: pytest.CaptureFixture[str]
) -> None:
    row = told(bent(layer)(), bounds=(0.1,))["proved",]

    assert row.status is Status.SKIPPED
    assert word in row.note
    assert capfd.readouterr() == ("", "")


@installed
def test_a_model_that_the_library_reads_otherwise_is_a_skip() -> None:
    class Counting(nn.Module):
        """Depends on the very numbers it is given: a trace takes the branch of its examples."""

        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(20, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            out = self.last(inputs.flatten(start_dim=1))
            return out if bool((inputs.std() > 0.2).detach()) else -out

    row = told(Counting(), bounds=(0.1,))["proved",]

    assert row.status is Status.SKIPPED
    assert "does not compute what the model computes" in row.note


@installed
def test_torch_is_afterwards_what_it_was() -> None:
    globals_ = importlib.import_module("torch.onnx._internal.torchscript_exporter._globals").GLOBALS
    helper = importlib.import_module("torch.onnx.symbolic_helper")
    executor = torch._C._jit_set_profiling_executor(True)  # type: ignore[attr-defined]
    torch._C._jit_set_profiling_executor(executor)  # type: ignore[attr-defined]
    before = torch.get_default_dtype(), globals_.export_onnx_opset_version, torch.is_grad_enabled()

    whole = seen(perceptron())
    library()(whole).margins(box(0.1), whole.decisions)

    assert (torch.get_default_dtype(), globals_.export_onnx_opset_version, torch.is_grad_enabled()) == before
    after = torch._C._jit_set_profiling_executor(executor)  # type: ignore[attr-defined]
    assert after == executor
    assert not hasattr(helper, "_set_opset_version")
    assert find_spec("numpy.lib.arraysetops") is None


@installed
def test_what_it_is_lent_is_still_missing() -> None:
    """A newer release, numpy or torch may need less: then what `_lirpa.py` lends can go."""
    assert version("auto_LiRPA") == "0.3"
    folder = Path(str(find_spec("auto_LiRPA").submodule_search_locations[0]))  # type: ignore[union-attr]
    assert "from numpy.lib.arraysetops import isin" in (folder / "operators" / "base.py").read_text()
    assert "import _set_opset_version" in (folder / "parse_graph.py").read_text()
    assert (
        "def _named_members(self, get_members_fn, prefix='', recurse=True)" in (folder / "bound_general.py").read_text()
    )
    assert find_spec("numpy.lib.arraysetops") is None
    assert not hasattr(importlib.import_module("torch.onnx.symbolic_helper"), "_set_opset_version")
    assert not hasattr(torch._C.Node, "__getitem__")  # type: ignore[attr-defined]


def test_without_the_library_the_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steelyard_stability.certified.find_spec", lambda name: None)
    plugin = Certified(bounds=(0.1,), bounds_by=Prover.AUTO_LIRPA)

    (problem,) = plugin.preflight(None)  # type: ignore[arg-type]

    assert problem.message == f"auto_LiRPA is not installed: {INSTALL}"
    assert problem.fix == "stability.certified.bounds_by=own"
    assert not [*Certified(bounds_by=Prover.AUTO_LIRPA).preflight(None)]  # type: ignore[arg-type]


def test_ours_say_who_knows_more() -> None:
    run = frozen(digits_task(Residual()), Points(POINTS, torch.zeros(6).long()), adapter=IMAGES)
    with looking(run.task):
        rows = [*CertifiedAttachment(Certified(examples=6, selection=10, looks=(10,), bounds=(0.1,))).measure(run)]
    notes = [row.note for row in rows if isinstance(row, Measurement) and row.name == "proved"]
    assert notes
    assert all("stability.certified.bounds_by=auto_lirpa" in note for note in notes)


@installed
def test_it_leaves_no_folder_among_the_users_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))

    def afresh() -> str:
        for name in [name for name in sys.modules if name.partition(".")[0] == "auto_LiRPA"]:
            del sys.modules[name]
        with _lirpa._lent():
            return importlib.import_module("appdirs").user_data_dir("own")

    assert in_a_fork(afresh) == str(tmp_path / "data" / "own")
    assert not (tmp_path / "data").exists()
