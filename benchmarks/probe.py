"""What `steelyard plan plan.probe=true` says of a training's CPU time, beside what the training takes.

Run: python benchmarks/probe.py [NAME...]

Each case is planned in one process and trained in another, on one thread. CPU seconds are the energy of both over the
10 W that both assume for a busy core, so that others who work on the machine matter less than they would to a clock.

Goal: within 10 % in 9 of 10.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

WATTS = 10.0
REVIEWS = Path(__file__).resolve().parents[2] / "shared" / "data" / "movie_reviews.csv"
BERT = f"experiment=sentiment data.path={REVIEWS} data.limit=480 trainer.precision=32-true trainer.max_epochs=1"
CASES = {
    "MLP": "data=digits model=mlp model.hidden=[1024,1024] trainer.max_epochs=8",
    "CNN": "data=digits model=cnn model.channels=[32,64] trainer.max_epochs=8",
    "GPT": "experiment=language_model trainer.max_epochs=1",
    "keyword CNN": "experiment=keyword trainer.max_epochs=1",
    "BERT, LoRA": f"{BERT} compute=[cost,lora]",
    "accumulation": "data=digits model=mlp model.hidden=[1024,1024] trainer.max_epochs=8 compute=[cost,accumulation]",
    "bf16": "data=digits model=mlp model.hidden=[1024,1024] trainer.max_epochs=8 compute=[cost,precision]",
    "DP-SGD": "data=digits model=cnn trainer.max_epochs=6 privacy=dp_sgd",
    "texts of many lengths": "experiment=translation trainer.max_epochs=2",
    "checkpointing": "experiment=language_model trainer.max_epochs=1 compute=[cost,checkpointing]",
}
QUIET = "stability=none interpretability=none"


def main() -> None:
    names = sys.argv[1:] or [*CASES]
    errors: list[float] = []
    for name in names:
        line = CASES[name]
        words = [*line.split(), *QUIET.split()]
        words += [] if "compute=" in line else ["compute=cost"]
        words += [] if "privacy=" in line else ["privacy=none"]
        told, took = planned(words), trained(words)
        errors.append(told / took - 1)
        print(f"{name:24} {told:7.2f} s foreseen, {took:7.2f} s of CPU time, {errors[-1]:+.1%}", flush=True)
    within = sum(abs(error) <= 0.1 for error in errors)
    print(f"within 10 %: {within} of {len(errors)}; worst {max(map(abs, errors)):.1%}")


def planned(words: list[str]) -> float:
    """CPU seconds of the whole training, foreseen."""
    out = steelyard("plan", *words, "plan.probe=true", f"plan.watts={WATTS}")
    found = re.search(r"energy +about ([0-9.e+]+) J", out)
    if found is None:
        sys.exit(f"no energy in the plan of {' '.join(words)}:\n{out}")
    return float(found[1]) / WATTS


def trained(words: list[str]) -> float:
    """CPU seconds of the training with its validation."""
    with tempfile.TemporaryDirectory() as folder:
        steelyard("run", *words, "checkpoints=none", cwd=folder)
        (card,) = Path(folder).glob("outputs/*/scorecard.json")
        sections = json.loads(card.read_text())["sections"]
    rows = {row["name"]: row for section in sections for row in section["measurements"]}
    return float(rows["compute.cost.energy"]["value"]) / WATTS


def steelyard(*words: str, cwd: str | None = None) -> str:
    command = [sys.executable, "-m", "steelyard", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode > 1:
        sys.exit(f"{' '.join(words)}: {done.stdout[-500:]} {done.stderr[-1500:]}")
    return done.stdout


if __name__ == "__main__":
    main()
