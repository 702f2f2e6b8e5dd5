"""`hydra/launcher=steelyard` in a Hydra application that knows nothing of Steelyard."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

APP = """
import json, logging, os, sys
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

STATE = []

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    STATE.append(1)
    logging.getLogger("app").info("a=%s", config.a)
    found = {
        "config": OmegaConf.to_container(config, resolve=True),
        "state": len(STATE),
        "folder": str(Path(HydraConfig.get().runtime.output_dir).relative_to(Path(HydraConfig.get().runtime.cwd))),
        "number": HydraConfig.get().job.num,
        "cwd": os.path.relpath(os.getcwd(), HydraConfig.get().runtime.cwd),
        "variable": os.environ.get("VARIABLE"),
    }
    Path(HydraConfig.get().runtime.output_dir, "found.json").write_text(json.dumps(found))
    if config.a == 13:
        raise ValueError("unlucky")
    if config.a == 14:
        os._exit(1)
    return config.a

if __name__ == "__main__":
    main()
"""
CONFIG = """
defaults:
  - db: small
  - _self_
a: 1
twice: ${db.size}
name: ${hydra:job.override_dirname}
hydra:
  sweep: {dir: out, subdir: "${hydra.job.num}"}
  job: {chdir: true, env_set: {VARIABLE: "job ${hydra:job.num}"}}
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    for name, text in {
        "app.py": APP,
        "conf/config.yaml": CONFIG,
        "conf/db/small.yaml": "size: 1",
        "conf/db/large.yaml": "size: 2",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def run(app: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        [sys.executable, "app.py", "-m", *words], cwd=app, env=environment, capture_output=True, text=True, timeout=60
    )


def left(app: Path) -> tuple[dict[str, object], dict[str, object]]:
    """What the jobs found, and what Hydra wrote down but for the launcher; then the folder is removed."""
    found = {path.parent.name: json.loads(path.read_text()) for path in app.glob("out/*/found.json")}
    files = {str(path.relative_to(app)): yaml.safe_load(path.read_text()) for path in app.glob("out/*/.hydra/*.yaml")}
    for name, content in files.items():
        if name.endswith("hydra.yaml"):
            del content["hydra"]["launcher"], content["hydra"]["runtime"]["choices"]["hydra/launcher"]
            content["hydra"]["overrides"]["hydra"] = [
                word for word in content["hydra"]["overrides"]["hydra"] if "launcher" not in word
            ]
    time = len("[2030-01-01 00:00:00,000]")
    files |= {str(path.relative_to(app)): path.read_text()[time:] for path in app.glob("out/*/app.log")}
    shutil.rmtree(app / "out")
    return found, files


def test_the_jobs_are_those_of_hydras_own_launcher(app: Path) -> None:
    words = ("db=small,large", "a=range(0,3)", "+new=x")
    assert run(app, *words, "hydra/launcher=basic").returncode == 0
    expected, files = left(app)
    done = run(app, *words, "hydra/launcher=steelyard", "hydra.launcher.workers=3")
    assert done.returncode == 0, done.stderr
    found, own = left(app)
    assert len(found) == 6
    # One process after another carries its state on; here each job starts afresh.
    assert [found[str(number)].pop("state") for number in range(6)] == [1] * 6
    assert [expected[str(number)].pop("state") for number in range(6)] == [1, 2, 3, 4, 5, 6]
    assert found == expected

    assert own == files
    assert len(files) == 6 * 4


@pytest.mark.parametrize(("a", "says"), [(13, "unlucky"), (14, "left early (exit code 1)")])
def test_a_job_that_fails_stops_no_other(app: Path, a: int, says: str) -> None:
    done = run(app, f"a=1,{a},2", "hydra/launcher=steelyard")
    assert done.returncode == 1
    assert says in done.stderr
    assert sorted(left(app)[0]) == ["0", "1", "2"]


def test_a_job_without_a_folder_stops_no_other(app: Path) -> None:
    done = run(app, "a=1,2", "hydra.sweep.subdir='${oc.select:a}/${oc.env:NAME_${a}}'", "hydra/launcher=steelyard")
    assert done.returncode == 1
    assert "NAME_1" in done.stderr


def test_a_folder_that_is_typed_is_that_of_each_job(app: Path) -> None:
    words = "a=7,8", "hydra.sweep.subdir='of ${a}'"
    assert run(app, *words, "hydra/launcher=basic").returncode == 0
    expected, _ = left(app)
    assert run(app, *words, "hydra/launcher=steelyard").returncode == 0
    found, _ = left(app)
    assert sorted(found) == sorted(expected) == ["of 7", "of 8"]


def test_a_resolver_of_the_application_never_starts_afresh_where_a_folder_asks_it(app: Path) -> None:
    counting = 'COUNTS = iter(range(99))\nOmegaConf.register_new_resolver("count", lambda: next(COUNTS))\n'
    (app / "app.py").write_text(APP.replace("STATE = []\n", f"STATE = []\n{counting}"))
    done = run(app, "a=1,2,3", "hydra.sweep.subdir='${count:}'", "hydra/launcher=steelyard")
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(path.read_text())["config"]["a"] for path in app.glob("out/*/found.json")) == [1, 2, 3]


def test_a_job_that_cannot_be_composed_tells_the_error_that_hydra_tells(app: Path) -> None:
    (app / "conf/config.yaml").write_text(CONFIG.replace("a: 1", "a: ???").replace("${db.size}", "${db.${a}}"))
    words = "a=size,sise", "hydra.sweep.subdir='${twice}'"
    told = [run(app, *words, f"hydra/launcher={name}") for name in ("basic", "steelyard")]
    errors = [next(line for line in done.stderr.splitlines() if "db.sise" in line) for done in told]
    assert errors[0] == errors[1]
    assert len(list(app.glob("out/*/found.json"))) == 1


def test_the_time_limit_of_a_job(app: Path) -> None:
    (app / "app.py").write_text(
        APP.replace(
            "if config.a == 13:", "if config.a == 5:\n        import time; time.sleep(50)\n    if config.a == 13:"
        )
    )
    done = run(app, "a=1,5", "hydra/launcher=steelyard", "hydra.launcher.job_seconds=0.5")
    assert done.returncode == 1
    assert "took too long" in done.stderr


@pytest.mark.parametrize("looks", [True, False])
def test_a_job_looks_for_garbage_if_the_application_does(app: Path, looks: bool) -> None:
    around = "if __name__", f"import gc\n(gc.enable if {looks} else gc.disable)()\nif __name__"
    (app / "app.py").write_text(
        APP.replace(*around).replace("if config.a == 13:", f"assert gc.isenabled() is {looks}\n    if config.a == 13:")
        + f"    assert gc.isenabled() is {looks} and not gc.get_freeze_count()\n"
    )
    done = run(app, "a=1,2", "hydra/launcher=steelyard")
    assert done.returncode == 0, done.stderr
