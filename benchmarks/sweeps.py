"""Sweeps against Hydra's own launchers: CPU seconds, losses, what is left open, and the table of many runs.

    python benchmarks/sweeps.py [TRIALS] [composition|forks|launchers|many|launched ...]

TRIALS is 256 by default; the sections that need thousands of trials use eight times as many. Without a name, all
sections. User and system time of each command and its children, so that a busy machine hits all alike.
hydra-joblib-launcher (1.2.0) is compared where it is installed. The limits are goals, checked by a reader.
"""

import gc
import importlib.util
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

GROUPS = ("data", "model", "task", "optimizer", "scheduler", "trainer", "logger", "compute", "privacy", "stability")
GROUPS += ("interpretability", "fairness", "experiment")
FEW = 32
"""Jobs of a sweep that one more is reckoned from: as many as the sweep gets ready for."""
TESTS = Path(__file__).parents[1] / "tests"

APP = """
import json, warnings
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
{imports}

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    {work}

main()
"""
IMPORTS = """
import torch
import pytorch_lightning as pl
from torch.utils.data import DataLoader, TensorDataset
warnings.simplefilter("ignore")
import logging
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

class Task(pl.LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
        self.lr = lr
    def training_step(self, batch, index):
        self.last = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        return self.last
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)
"""
TRAIN = """torch.set_num_threads(1)
    pl.seed_everything(config.seed, verbose=False)
    data = TensorDataset(torch.randn(640, 16), torch.randint(0, 4, (640,)))
    task = Task(config.lr)
    pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
               enable_model_summary=False, accelerator="cpu").fit(task, DataLoader(data, batch_size=32))
    out = Path(HydraConfig.get().runtime.output_dir, "loss.json")
    out.write_text(json.dumps(float(task.last)))
    return float(task.last)"""


def write_app(folder: Path, name: str, *, trains: bool) -> None:
    text = APP.format(imports=IMPORTS if trains else "", work=TRAIN if trains else "return 0.0")
    (folder / f"{name}.py").write_text(text)
    for group in GROUPS:
        (folder / "conf" / group).mkdir(parents=True, exist_ok=True)
        for option in ("one", "two"):
            lines = "\n".join(f"value_{number}: {number}" for number in range(6))
            (folder / "conf" / group / f"{option}.yaml").write_text(f"name: {option}\n{lines}\n")
    defaults = "\n".join(f"  - {group}: one" for group in GROUPS)
    (folder / "conf" / "config.yaml").write_text(f"defaults:\n{defaults}\n  - _self_\nseed: 0\nlr: 0.1\n")


def cpu_seconds(command: list[str], folder: Path) -> tuple[float, float]:
    """CPU and wall."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr[-2000:]
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def sweep(folder: Path, app: str, launcher: str, trials: int, *words: str, place: str = "out") -> tuple[float, float]:
    out = f"hydra.sweep.dir={place}_{app}_{launcher}"
    command = [sys.executable, f"{app}.py", "-m", f"hydra/launcher={launcher}", out, *words]
    return cpu_seconds([*command, f"seed=range(0,{trials // 4})", "lr=0.1,0.05", "data=one,two"], folder)


def losses(folder: Path, app: str, launcher: str) -> list[str]:
    found = (folder / f"out_{app}_{launcher}").glob("*/loss.json")
    return [path.read_text() for path in sorted(found, key=lambda path: int(path.parent.name))]


def launchers(trials: int) -> None:
    """Tiny isolated trainings, and jobs that do nothing, by each launcher."""
    names = ["basic", "steelyard"]
    words = {"steelyard": ("hydra.launcher.workers=2",), "joblib": ("hydra.launcher.n_jobs=2",)}
    if importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher"):
        names.insert(1, "joblib")
    else:
        print("  (hydra-joblib-launcher is not installed)")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_app(folder, "train", trains=True)
        write_app(folder, "idle", trains=False)
        for app in ("train", "idle"):
            found: dict[str, tuple[float, float]] = {}
            each: dict[str, tuple[float, float]] = {}
            for name in names:
                few = sweep(folder, app, name, FEW, *words.get(name, ()), place="few")
                found[name] = sweep(folder, app, name, trials, *words.get(name, ()))
                cpu, wall = ((many - less) / (trials - FEW) for many, less in zip(found[name], few, strict=True))
                each[name] = cpu, wall
            for name, (cpu, wall) in found.items():
                ratios = f"{cpu / found['steelyard'][0]:5.2f} x CPU {wall / found['steelyard'][1]:5.2f} x wall"
                print(f"  {app:>6} {trials} by {name:>9}  {cpu:7.1f} s CPU {wall:7.1f} s  {ratios}")
            for name, (cpu, wall) in each.items():
                ratios = f"{cpu / each['steelyard'][0]:5.1f} x CPU {wall / each['steelyard'][1]:5.1f} x wall"
                goal = "; goal 25 by basic" if app == "idle" and name == "steelyard" else ""
                print(f"  {app:>6} one more by {name:>9}  {cpu * 1e3:6.1f} ms CPU {wall * 1e3:6.1f} ms  {ratios}{goal}")
            if app == "train":
                same = {name: losses(folder, app, name) == losses(folder, app, "basic") for name in names}
                print(f"         losses equal: {same}; goals: basic 5, joblib 3")


def composition() -> None:
    """One job of Steelyard's own config: what Hydra's loader and the quick one take, and all that goes before it."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    from steelyard.composing import QuickLoader, expand, session

    def words(number: int) -> list[str]:
        return ["privacy=dp_sgd", f"seed={number}", f"optimizer.lr=0.{number + 1}", "trainer.max_epochs=3"]

    with session():
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", [], RunMode.MULTIRUN)
        quick = QuickLoader(loader)
        quick.load_sweep_config(master, words(1000))
        took: dict[str, float] = {}
        for name, one in (("hydra", loader), ("quick", quick)):
            begun = time.process_time()
            for number in range(40):
                one.load_sweep_config(master, words(number))
            took[name] = (time.process_time() - begun) / 40
    ratio = took["hydra"] / took["quick"]
    print(f"  compose: Hydra {took['hydra'] * 1e3:.1f} ms, quick {took['quick'] * 1e3:.2f} ms: {ratio:.0f} x (goal 25)")
    each: dict[str, float] = {}
    for launcher in ("basic", "steelyard"):
        with tempfile.TemporaryDirectory() as scratch:
            times: list[float] = []
            for count in (2, 42):
                begun = time.process_time()
                expand(
                    f"hydra/launcher={launcher}", f"seed=range(0,{count})", "optimizer.lr=0.1,0.2", place=Path(scratch)
                )
                times.append(time.process_time() - begun)
            each[launcher] = (times[1] - times[0]) / 80
    print(
        f"  to a checked trial: basic {each['basic'] * 1e3:.1f} ms, steelyard {each['steelyard'] * 1e3:.1f} ms: "
        f"{each['basic'] / each['steelyard']:.0f} x"
    )


def forks() -> None:
    """From the warm process of a sweep to the end of a trial that does nothing."""
    from steelyard.sweeping.driver import _warm
    from steelyard.sweeping.pool import Pool

    _warm(50)
    pool = Pool(workers=1, threads=1)

    def cpu() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    begun, wall = cpu(), time.monotonic()
    for number in range(50):
        pool.start(number, lambda send: 0)
        while pool.busy:
            list(pool.poll(1.0))
    print(f"  fork and end of a trial: {(cpu() - begun) * 20:.1f} ms CPU, {(time.monotonic() - wall) * 20:.1f} ms")
    gc.unfreeze()


MANY = """
import sys
from pathlib import Path
from steelyard.sweeping.forked import die_with
die_with({parent})
from helpers.stand_in import stand_in
from steelyard import experiment
from steelyard.cli import main
experiment.run = stand_in(Path("calls.txt"), lambda seed: None)
sys.exit(main())
"""


def many(trials: int) -> None:
    """Thousands of trials that do nothing, by Steelyard's own command; then their table."""
    with tempfile.TemporaryDirectory() as scratch:
        calls = Path(scratch, "calls.txt")
        program = MANY.format(parent=os.getpid())
        words = ["run", "-m", f"seed=range(0,{trials})", "sweep.workers=2"]
        nothing = [f"{challenge}=none" for challenge in ("compute", "privacy", "interpretability", "stability")]
        watched(
            [sys.executable, "-c", program, *words, *nothing],
            Path(scratch),
            trials,
            done=lambda: calls.read_text().count("\n") if calls.exists() else 0,
        )
        (place,) = Path(scratch, "outputs").iterdir()
        from steelyard import sweep as sweeps

        begun_cpu, begun = time.process_time(), time.monotonic()
        summary = sweeps.finish(place)
        cpu, wall = time.process_time() - begun_cpu, time.monotonic() - begun
        print(f"  table and page of {len(summary.trials)} runs: {cpu:.1f} s CPU, {wall:.1f} s (goal 10)")


def launched(trials: int) -> None:
    """Thousands of jobs that do nothing, of a Hydra application that knows nothing of Steelyard."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_app(folder, "idle", trains=False)
        words = ["hydra/launcher=steelyard", "hydra.launcher.workers=2", "hydra.sweep.dir=out"]
        grid = [f"seed=range(0,{trials // 4})", "lr=0.1,0.05", "data=one,two"]
        watched(
            [sys.executable, "idle.py", "-m", *words, *grid],
            folder,
            trials,
            done=lambda: len(list(folder.glob("out/*/idle.log"))),
        )


def watched(command: list[str], folder: Path, trials: int, *, done: Callable[[], int]) -> None:
    """Prints the memory, open files and processes of a sweep, early, late, and at most."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)])}
    begun, no = time.monotonic(), subprocess.DEVNULL
    sweep = subprocess.Popen(command, cwd=folder, env=environment, stdout=no, stderr=no)
    seen: list[tuple[int, int, int, int]] = []

    def watch() -> None:
        while sweep.poll() is None:
            try:
                lines = Path(f"/proc/{sweep.pid}/status").read_text().splitlines()
                kib = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
                files = len(list(Path(f"/proc/{sweep.pid}/fd").iterdir()))
                seen.append((done(), kib, files, below(sweep.pid)))
            except OSError:
                pass
            time.sleep(0.2)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        code = sweep.wait()
    finally:
        sweep.kill()
        thread.join()
    running = [one for one in seen if 20 <= one[0] < trials - 20]
    first, last = running[0], running[-1]
    print(f"  {trials} trials in {time.monotonic() - begun:.0f} s, exit code {code}")
    for name, at in (("MiB", 1), ("files", 2), ("processes", 3)):
        scale = 1024 if at == 1 else 1
        ends = f"{first[at] / scale:.0f} after {first[0]} trials, {last[at] / scale:.0f} after {last[0]}"
        print(f"  {name:>9}: {ends}, {max(one[at] for one in running) / scale:.0f} at most")


def below(process: int) -> int:
    """How many processes a process has started, and these in turn."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    found = len(children)
    for child in children:
        with suppress(OSError):
            found += below(int(child))
    return found


def leave(number: int, frame: object) -> None:
    """Ends by way of every `finally`, so that a sweep and its folder go, too."""
    del frame
    sys.exit(128 + number)


SECTIONS = {
    "composition": lambda _: composition(),
    "forks": lambda _: forks(),
    "launchers": launchers,
    "many": lambda trials: many(8 * trials),
    "launched": lambda trials: launched(8 * trials),
}


def main(trials: int, names: list[str]) -> None:
    signal.signal(signal.SIGTERM, leave)
    print(f"{trials} trials, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name in names or SECTIONS:
        SECTIONS[name](trials)


if __name__ == "__main__":
    words = sys.argv[1:]
    main(int(words.pop(0)) if words and words[0].isdigit() else 256, words)
