"""What the command line does not import; `benchmarks/start_up.py` says what it costs."""

from collections.abc import Callable
from typing import Any

import pytest

HEAVY = "print(sorted({'torch', 'numpy', 'pytorch_lightning', 'opacus', 'captum'} & set(sys.modules)), file=sys.stderr)"
NOTHING = ("compute=none", "privacy=none", "interpretability=none", "stability=none")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["plugins", "list"], 0),
        (["plugins", "show", "parity"], 0),
        (["completion", "query", "steelyard run fair"], 0),
        (["run", "--help", *NOTHING], 0),
        (["run", "--cfg", "job", *NOTHING, "fairness=parity"], 0),
        (["run", *NOTHING, "fairness.parity.samples=3"], 2),
        (["run", *NOTHING, "model=mpl"], 2),
        (["status", "nowhere"], 2),
    ],
)
def test_nothing_heavy_is_imported(shell: Callable[..., Any], words: list[str], code: int) -> None:
    done = shell(*words, after=HEAVY)
    assert done.returncode == code, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "words", [["--help"], ["plugins", "list"], ["plugins", "show", "parity"], ["status", "nowhere"]]
)
def test_hydra_stays_out_where_nothing_is_composed(shell: Callable[..., Any], words: list[str]) -> None:
    done = shell(*words, after="print('hydra' in sys.modules, file=sys.stderr)")
    assert done.stderr.splitlines()[-1] == "False"


def test_a_file_beside_the_user_is_importable_and_shadows_nothing(shell: Callable[..., Any], tmp_path: Any) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('shadowed')")
    (tmp_path / "my_model.py").write_text("")
    done = shell(
        "run",
        "--cfg",
        "job",
        *NOTHING,
        after="import json, my_model; print(sys.path[-1])",
        before="sys.path.remove('')",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path)
