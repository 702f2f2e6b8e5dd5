"""By how much a process grows in a training, foreseen from shapes alone and as it came.

Run: python benchmarks/process_memory.py [lean|cached] [runs=N] [NAME...]

Every case is trained N times (3), each a run of its own with `compute.cost.predict=true`, of fifteen steps. The
constants of the prediction come from the cases that are marked as seen; the others were run once those stood. `lean`
sets the allocator by MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ to give freed memory back; `cached` leaves it
its cache of small chunks, which the command turns off.

Goals: within 15 % each, 7 % with the lean settings. Beside the growth, which is what is hard to foresee, stands how far
off that is of the whole process, with its libraries and data.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

LEAN = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
CACHED = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=7"}
MLP = "data=digits model=mlp model.hidden=[1536,1536] data.batch_size=512"
BERT = "experiment=sentiment data.limit=640 trainer.precision=32-true"
CNN = "data=digits model=cnn model.channels=[64,128] data.batch_size=512"
RESNET = "data=digits model=resnet model.widths=[32,64,128] model.norm=group"
GPT = "experiment=language_model data.batch_size=64"
OWN = "data=digits model=custom data.batch_size=512 model._target_=_memory_models"
PRIVATE = "privacy=[dp_sgd] privacy.dp_sgd.target_epsilon=8"
SEEN = {
    "MLP, Adam": "data=digits model=mlp model.hidden=[2048,2048,2048] data.batch_size=512",
    "MLP, SGD": "data=digits model=mlp model.hidden=[4096,4096] data.batch_size=256 optimizer=sgd",
    "CNN": CNN,
    "ResNet, narrow": "data=digits model=resnet data.batch_size=1024",
    "ResNet": f"{RESNET} data.batch_size=1024",
    "ResNet, accumulation": f"{RESNET} data.batch_size=256 compute=[cost,accumulation] compute.accumulation.batches=4",
    "GPT": GPT,
    "GPT, LoRA": f"{GPT} compute=[cost,lora]",
    "CNN, bf16": f"{CNN} compute=[cost,precision]",
    "T5": "experiment=translation model=t5 model.width=256 data.batch_size=64",
    "BART": "experiment=translation",
    "VideoMAE": "experiment=video",
    "BERT": BERT,
    "BERT, LoRA": f"{BERT} compute=[cost,lora]",
    "BERT, bf16": "experiment=sentiment data.limit=640",
}
HELD_OUT = {
    "MLP, bf16": "data=digits model=mlp model.hidden=[2048,2048] data.batch_size=512 compute=[cost,precision]",
    "GPT, wide": "experiment=language_model data.batch_size=32 model.width=384 model.layers=4",
    "GPT, checkpointing": f"{GPT} compute=[cost,checkpointing]",
    "T5, bf16": "experiment=translation model=t5 model.width=256 data.batch_size=64 compute=[cost,precision]",
    "BERT, accumulation": f"{BERT} compute=[cost,accumulation]",
    "ResNet, deep": "data=digits model=resnet model.widths=[64,128] model.depths=[3,3] data.batch_size=512",
    "ResNet, bf16": f"{RESNET} data.batch_size=1024 compute=[cost,precision]",
    "CNN, narrow": "data=digits model=cnn model.channels=[32,32,64] data.batch_size=1024",
    "keyword CNN": "experiment=keyword",
    "LSTM": f"{OWN}.Recurrent +model.kind=LSTM",
    "GRU": f"{OWN}.Recurrent +model.kind=GRU",
    "ViT": f"{OWN}.Patches",
    "embeddings": f"{OWN}.Looked",
    "WaveNet": "experiment=synthesis data.limit=200 data.batch_size=8 trainer.precision=32-true",
    "MLP, deep": "data=digits model=mlp model.hidden=[512,512,512,512,512,512,512,512] data.batch_size=1024",
    "MLP, 8-bit Adam": f"{MLP} compute=[cost,optimizer_8bit]",
    "ResNet, checkpointing": f"{RESNET} data.batch_size=1024 compute=[cost,checkpointing]",
    "T5, LoRA": "experiment=translation model=t5 model.width=256 data.batch_size=64 compute=[cost,lora]",
    "MLP, private": f"data=digits model=mlp model.hidden=[1024,1024] data.batch_size=512 {PRIVATE}",
    "CNN, private": f"data=digits model=cnn model.norm=group data.batch_size=256 {PRIVATE}",
}
QUIET = "stability=none interpretability=none compute.cost.predict=true trainer.max_steps=15"
PLAIN = {"privacy": "none", "compute": "cost"}
"""Unless a case says something else."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """MiB of one run.

    Attributes:
        predicted: By which the process grows.
        actual: By which it grew.
        whole: Of the whole process at its peak.
        tensors: Of those tensors are, in words.
    """

    predicted: float
    actual: float
    whole: float
    tensors: str

    @property
    def off(self) -> float:
        return self.predicted / self.actual - 1

    @property
    def off_whole(self) -> float:
        return (self.predicted - self.actual) / self.whole


def main() -> None:
    words = sys.argv[1:]
    ways = {"lean": LEAN, "cached": CACHED}
    environment = next((ways[word] for word in words if word in ways), {})
    runs = next((int(word.partition("=")[2]) for word in words if word.startswith("runs=")), 3)
    names = [word for word in words if word not in ways and not word.startswith("runs=")]
    chosen = {name: line for name, line in (SEEN | HELD_OUT).items() if not names or name in names}
    found: dict[bool, list[list[Told]]] = {True: [], False: []}
    for name, line in chosen.items():
        told = [one for one in (run(line, environment) for _ in range(runs)) if one is not None]
        if not told:
            print(f"{name:22} failed", flush=True)
            continue
        found[name in SEEN].append(told)
        real = sorted(one.actual for one in told)
        print(
            f"{name:22} {median(one.predicted for one in told):7.1f} MiB predicted ({told[0].tensors} of tensors), "
            f"{real[0]:.1f} to {real[-1]:.1f} MiB real in {len(real)}; off by "
            f"{', '.join(f'{one.off:+.1%}' for one in told)}; of the whole process "
            f"{', '.join(f'{one.off_whole:+.1%}' for one in told)}; {'seen' if name in SEEN else 'held out'}",
            flush=True,
        )
    for seen, cases in found.items():
        if cases:
            summary("seen" if seen else "held out", cases, bound=0.07 if environment is LEAN else 0.15)


def summary(kind: str, cases: list[list[Told]], *, bound: float) -> None:
    runs = [abs(one.off) for case in cases for one in case]
    middles = [abs(median(one.off for one in case)) for case in cases]
    whole = [abs(one.off_whole) for case in cases for one in case]
    print(
        f"{kind}: of {len(runs)} runs {sum(off <= bound for off in runs)} within {bound:.0%}, worst {max(runs):.1%}, "
        f"median {median(runs):.1%}; of {len(middles)} cases the middle run of {sum(off <= bound for off in middles)}; "
        f"of the whole process worst {max(whole):.1%}"
    )


def run(line: str, environment: dict[str, str]) -> Told | None:
    plugins = [f"{name}={chosen}" for name, chosen in PLAIN.items() if f"{name}=" not in line]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "steelyard", "run", *line.split(), *QUIET.split(), *plugins]
        places = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
        ours = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": places, **environment}
        subprocess.run(command, cwd=folder, env=ours, capture_output=True, check=False)
        found = sorted(Path(folder).glob("outputs/*/scorecard.json"))
        if not found:
            return None
        sections = json.loads(found[0].read_text())["sections"]
        rows = {row["name"]: row for section in sections for row in section["measurements"]}
    predicted, actual = rows["compute.cost.predicted_memory"], rows["compute.cost.peak_memory"]
    if predicted["value"] is None or actual["value"] is None:
        return None
    return Told(
        predicted=float(predicted["value"]),
        actual=float(actual["value"]),
        whole=float(rows["compute.cost.process_memory"]["value"]),
        tensors=str(predicted["note"]).partition(": ")[2].partition(" of tensors")[0],
    )


if __name__ == "__main__":
    main()
