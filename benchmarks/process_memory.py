"""By how much a process grows in a training, foreseen from shapes alone and as it came.

Run: python benchmarks/process_memory.py [lean] [NAME...]

Every case is a run of its own with `compute.cost.predict=true`, of fifteen steps. The constants of the prediction come
from the cases that are marked as seen; the others were run once, after them. `lean` sets the allocator by
MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ to give freed memory back.

Goals: within 15 % each, 7 % with the lean settings.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

LEAN = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
BERT = "experiment=sentiment data.limit=640 trainer.precision=32-true"
SEEN = {
    "MLP, Adam": "data=digits model=mlp model.hidden=[2048,2048,2048] data.batch_size=512",
    "MLP, SGD": "data=digits model=mlp model.hidden=[4096,4096] data.batch_size=256 optimizer=sgd",
    "ResNet": "data=digits model=resnet data.batch_size=1024",
    "GPT": "experiment=language_model data.batch_size=64",
    "BART": "experiment=translation",
    "VideoMAE": "experiment=video",
    "BERT": BERT,
    "BERT, LoRA": f"{BERT} compute=[cost,lora]",
    "BERT, bf16": "experiment=sentiment data.limit=640",
}
HELD_OUT = {
    "GPT, wide": "experiment=language_model data.batch_size=32 model.width=384 model.layers=4",
    "CNN": "data=shapes model=cnn model.channels=[64,128] data.batch_size=128",
    "T5": "experiment=translation model=t5 model.width=256 data.batch_size=64",
    "BERT, accumulation": f"{BERT} compute=[cost,accumulation]",
    "MLP, bf16": "data=digits model=mlp model.hidden=[2048,2048] data.batch_size=512 compute=[cost,precision]",
}
QUIET = "privacy=none stability=none interpretability=none compute.cost.predict=true trainer.max_steps=15"


def main() -> None:
    words = sys.argv[1:]
    lean, names = "lean" in words, [word for word in words if word != "lean"]
    chosen = {name: line for name, line in (SEEN | HELD_OUT).items() if not names or name in names}
    errors: dict[bool, list[float]] = {True: [], False: []}
    for name, line in chosen.items():
        told = run(line, lean=lean)
        if told is None:
            print(f"{name:22} failed", flush=True)
            continue
        predicted, actual, tensors = told
        errors[name in SEEN].append(predicted / actual - 1)
        kind = "seen" if name in SEEN else "held out"
        print(
            f"{name:22} {predicted:7.1f} MiB predicted ({tensors} of tensors), {actual:7.1f} MiB real, "
            f"{predicted / actual - 1:+.1%}, {kind}",
            flush=True,
        )
    for seen, found in errors.items():
        if found:
            sizes = [abs(error) for error in found]
            print(
                f"{'seen' if seen else 'held out'}: worst {max(sizes):.1%}, median {median(sizes):.1%} of {len(sizes)}"
            )


def run(line: str, *, lean: bool) -> tuple[float, float, str] | None:
    """Predicted and real MiB, and those of the tensors in words."""
    plugins = [] if "compute=" in line else ["compute=cost"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "steelyard", "run", *line.split(), *QUIET.split(), *plugins]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **(LEAN if lean else {})}
        subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
        found = sorted(Path(folder).glob("outputs/*/scorecard.json"))
        if not found:
            return None
        sections = json.loads(found[0].read_text())["sections"]
        rows = {row["name"]: row for section in sections for row in section["measurements"]}
    predicted, actual = rows["compute.cost.predicted_memory"], rows["compute.cost.peak_memory"]
    if predicted["value"] is None or actual["value"] is None:
        return None
    tensors = str(predicted["note"]).partition(": ")[2].partition(" of tensors")[0]
    return float(predicted["value"]), float(actual["value"]), tensors


if __name__ == "__main__":
    main()
