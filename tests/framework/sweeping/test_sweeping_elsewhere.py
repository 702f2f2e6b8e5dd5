"""Trials that joblib, submitit or ray run: the same rows, exit codes and resume as on this machine."""

import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import Trainer
from pytorch_lightning.plugins.environments import SLURMEnvironment

from steelyard import folder, run
from steelyard.cli import main
from steelyard.folder import State
from steelyard.sweeping import record
from steelyard.sweeping.elsewhere.hands import Elsewhere, Lost
from steelyard.sweeping.elsewhere.parcel import Parcel, progress_file, read_progress
from steelyard.sweeping.forked import Send
from steelyard.sweeping.pool import Ended, Told
from steelyard.sweeping.progress import Progressed

Words = tuple[str, ...]
Install = Callable[[Callable[[int], None]], None]
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=1")
"""In a thread of this process, from which the trials are forked: so they know the stand-in."""


def parcel(place: Path, number: int, work: Callable[[Send], int], seconds: float | None = None) -> Parcel:
    return Parcel(number=number, work=work, place=place, threads=1, seconds=seconds)


def fine(send: Send) -> int:
    send(Progressed(share=0.5, doing="half"))
    return 0


def test_a_failing_trial_stops_no_other_and_runs_again(nothing: Words, trials: Install, calls: Path) -> None:
    lucky = [False]

    def act(seed: int) -> None:
        if seed == 1 and not lucky[0]:
            raise ValueError("unlucky")

    trials(act)
    assert main(["run", "-m", *nothing, *JOBLIB, "seed=0,1,2"]) == 3
    (place,) = Path("outputs").iterdir()
    assert [folder.status(place / str(number)).state for number in range(3)] == [State.DONE, State.FAILED, State.DONE]
    assert len((place / "sweep.csv").read_text().splitlines()) == 4
    lucky[0] = True
    assert main(["resume", str(place)]) == 0
    assert calls.read_text().split() == ["0", "1", "2", "1"]


def test_max_failures(nothing: Words, trials: Install, calls: Path) -> None:
    def act(seed: int) -> None:
        raise ValueError(seed)

    trials(act)
    assert main(["run", "-m", *nothing, *JOBLIB, "seed=range(0,20)", "sweep.max_failures=1"]) == 3
    assert len(calls.read_text().split()) < 20


def test_what_was_sent_twice_runs_once(tmp_path: Path) -> None:
    made = folder.create(tmp_path, "0")
    with folder.opened(made) as journal:
        journal.end(State.DONE, exit_code=1)
    ended = parcel(tmp_path, 0, lambda send: pytest.fail("it runs again"))()
    assert (ended.code, ended.signal) == (1, None)


def test_what_was_called_off_without_a_checkpoint_starts_anew(tmp_path: Path) -> None:
    made = folder.create(tmp_path, "0")
    with folder.opened(made) as journal:
        journal.end(State.TERMINATED, exit_code=143)
    assert record.ended_before(tmp_path, 0, look=0.01) is None
    assert not made.exists()
    made = folder.create(tmp_path, "0")
    with folder.opened(made) as journal:
        journal.end(State.TERMINATED, exit_code=143)
    (made / "checkpoints").mkdir()
    (made / "checkpoints" / "last.ckpt").touch()
    assert record.ended_before(tmp_path, 0, look=0.01) is None
    assert made.exists()


def test_a_time_limit_holds_elsewhere(tmp_path: Path) -> None:
    ended = parcel(tmp_path, 0, lambda send: time.sleep(30) or 0, seconds=0.1)()
    assert ended.overdue


class Waiting:
    """Says that it began, and then that it was asked to stop."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def __call__(self, send: Send) -> int:
        (self._place / "began").touch()
        try:
            time.sleep(30)
        finally:
            (self._place / "stopped").touch()
        return 0


def test_a_job_that_is_preempted_stops_its_trial_and_is_sent_again(tmp_path: Path) -> None:
    """As submitit does it: a signal, of which the handler asks for what is to be sent again and leaves."""
    pytest.importorskip("submitit")
    mine = parcel(tmp_path, 0, Waiting(tmp_path))
    pid = os.fork()
    if not pid:
        code = 1
        try:

            def preempted(number: int, frame: object) -> None:
                again: Any = mine.checkpoint()
                os._exit(0 if pickle.loads(pickle.dumps(again)).function.number == 0 else 2)

            signal.signal(signal.SIGUSR2, preempted)
            mine()
        finally:
            os._exit(code)
    while not (tmp_path / "began").exists():
        time.sleep(0.01)
    os.kill(pid, signal.SIGUSR2)
    assert os.waitpid(pid, 0)[1] == 0
    assert (tmp_path / "stopped").exists()


class Done:
    """A job that is over."""

    job_id = "12_0"

    def __init__(self, result: Any) -> None:
        self._result = result

    def done(self) -> bool:
        return True

    def result(self) -> Any:
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


def test_submitit_gives_back_how_a_trial_ended(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    from steelyard.sweeping.elsewhere._submitit import Submitit

    crew = Submitit(cluster="local", place=tmp_path, parameters={}, trials=2)
    fine_one = parcel(tmp_path, 0, fine)()
    assert fine_one.code == 0
    wordless = Done(RuntimeError())
    crew._jobs = {0: Done(fine_one), 1: Done(RuntimeError("a trace\nUncompletedJobError: no room")), 2: wordless}
    assert crew.ended(0.0) == {
        0: fine_one,
        1: Lost(reason="job 12_0: UncompletedJobError: no room"),
        2: Lost(reason="job 12_0: RuntimeError"),
    }
    assert not crew.ended(0.0)


class Slow:
    """A crew of one, whose trial is done at the third look."""

    workers = 1

    def __init__(self) -> None:
        self.left = False
        self._looks = 0

    def send(self, parcels: Any) -> None:
        (self._parcel,) = parcels
        folder.write_json(progress_file(self._parcel.place, 0), {"share": 0.5, "doing": "half"})

    def ended(self, seconds: float) -> dict[int, Lost]:
        self._looks += 1
        return {0: Lost(reason="the machine is gone")} if self._looks == 3 else {}

    def leave(self) -> None:
        self.left = True


def test_progress_is_told_once_and_a_lost_trial_says_why(tmp_path: Path) -> None:
    crew: Any = Slow()
    hands = Elsewhere(crew=crew, place=tmp_path, threads=1, seconds=None)
    hands.start(0, fine)
    found: list[Told | Ended] = []
    while hands.busy:
        found += hands.poll(0.0)
    told, ended = found
    assert told == Told(number=0, what=Progressed(share=0.5, doing="half"))
    assert isinstance(ended, Ended)
    assert ended.reason == "the machine is gone"
    hands.start(1, fine)
    hands.stop(signal.SIGTERM)
    assert crew.left
    assert not hands.busy
    assert read_progress(tmp_path, 7) is None


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "submitit_slurm", "ray"])
def test_a_missing_library_is_named_before_anything_runs(
    launcher: str, nothing: Words, workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library = launcher.partition("_")[0]
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == library else real(name, *rest))
    assert main(["run", "-m", *nothing, f"hydra/launcher={launcher}", "seed=0,1"]) == 2
    assert f"pip install 'steelyard[{library}]'" in capsys.readouterr().err
    assert not list(Path("outputs").iterdir())


SBATCH = """#!/bin/sh
for last; do :; done
cp "$last" "$SEEN/script.sh"
echo "Submitted batch job 12"
"""


def test_what_slurm_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    from omegaconf import OmegaConf

    import steelyard_conf
    from steelyard.sweeping.elsewhere.choosing import hands_of
    from steelyard.sweeping.settings import Sweep

    for name in ("sbatch", "srun", "scancel"):
        (tmp_path / name).write_text(SBATCH)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SEEN", str(tmp_path))
    preset: Any = OmegaConf.load(Path(steelyard_conf.__path__[0]) / "hydra/launcher/submitit_slurm.yaml")
    options: Any = {**OmegaConf.to_container(preset), "slurm_partition": "long", "cpus_per_task": 4}
    hands = hands_of("submitit_slurm", options, tmp_path, Sweep(), 3)
    for number in range(3):
        hands.start(number, fine)
    hands.crew.send(hands._given)
    asked = (tmp_path / "script.sh").read_text()
    for line in ("--array=0-2%3", "--signal=USR2@90", "--partition=long", "--cpus-per-task=4", "--ntasks-per-node=1"):
        assert f"#SBATCH {line}" in asked, asked
    assert "#SBATCH --time=60" in asked
    assert hands.threads == 4


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of a job of one task."""
    told = {"JOB_ID": "12", "JOB_NAME": "trial", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in told.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_lightning_leaves_it_to_the_launcher_to_send_a_job_again(
    slurm: None, workdir: Path, nothing: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SLURMEnvironment.detect()
    plain = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    assert isinstance(plain._accelerator_connector.cluster_environment, SLURMEnvironment)
    seen: list[Any] = []
    fit = Trainer.fit
    monkeypatch.setattr(Trainer, "fit", lambda self, *a, **k: (seen.append(self), fit(self, *a, **k))[1])
    run(*nothing, "trainer.max_epochs=1", "trainer.limit_train_batches=1", "checkpoints=none")
    assert not isinstance(seen[0]._accelerator_connector.cluster_environment, SLURMEnvironment)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


REAL = {
    "joblib": ("hydra.launcher.n_jobs=2",),
    "submitit_local": (),
    "ray": ("hydra.launcher.init.num_cpus=2",),
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [*REAL])
def test_a_sweep_elsewhere_is_killed_and_taken_up(launcher: str, nothing: Words, workdir: Path) -> None:
    """Real workers: two processes of joblib, jobs of submitit, a local cluster of ray with two workers."""
    pytest.importorskip(launcher.partition("_")[0])
    command = [sys.executable, "-m", "steelyard"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = ("seed=range(0,4)", "trainer.max_epochs=20", f"hydra/launcher={launcher}", *REAL[launcher], *nothing)
    with Path("log.txt").open("w") as log:
        sweep = subprocess.Popen([*command, "run", "-m", *words], env=environment, stdout=log, stderr=log)
        deadline, done = time.monotonic() + 400, list[Path]()
        while not done:
            assert sweep.poll() is None, Path("log.txt").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
            found = (path.parent for path in workdir.glob("outputs/*/*/" + folder.STATUS))
            done = [place for place in found if folder.status(place).state is State.DONE]
        sweep.send_signal(signal.SIGKILL)
        sweep.wait()
    place = done[0].parent
    while any(record.is_running(path.parent) for path in place.glob("*/" + folder.STATUS)):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    before = {one: (one / "scorecard.json").stat().st_mtime_ns for one in done}
    resumed = subprocess.run([*command, "resume", str(place)], env=environment, capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert len(list(place.glob("*/scorecard.json"))) == 4
    assert {one: (one / "scorecard.json").stat().st_mtime_ns for one in done} == before
    assert len((place / "sweep.csv").read_text().splitlines()) == 5
    assert (place / "sweep.html").exists()
    losses = {folder.read_json(path)["seed"] for path in place.glob("*/scorecard.json")}
    assert losses == {0, 1, 2, 3}
