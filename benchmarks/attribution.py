"""Explaining, against Captum and against the least that a method can cost.

One process, interleaved, CPU time, one thread, median of paired ratios over 5 rounds.
Run: python benchmarks/attribution.py

Goals: integrated gradients at most 1.10 of steps x (forward and backward for the inputs alone, at the best batch size)
for the CNN and the transformer, and at least 20 times a loop over examples for the MLP; with as many steps as
completeness asks for at least 6 times as fast as Captum's 50 steps, every example within 5 %; KernelSHAP at least 150
times as fast as Captum's at half its error; exact Shapley values of 12 features of 32 examples in 0.2 s; occlusion at
least twice as fast as a loop, and equal; no method above 256 MiB; the default report on a CNN of a million parameters
in 20 s.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import resource
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
from _timing import clocked, ratio, told
from captum.attr import IntegratedGradients, KernelShap, Occlusion
from pytorch_lightning import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from steelyard.adapters import ClassScoring
from steelyard.adapters.image import ImageAdapter
from steelyard.runs import Run
from steelyard.tasks import Classification
from steelyard_interpretability import Faithfulness
from steelyard_interpretability._faithfulness import FaithfulnessAttachment
from steelyard_interpretability._gradients import integrated
from steelyard_interpretability._limits import fitting
from steelyard_interpretability.methods.gradient import stepped
from steelyard_interpretability.methods.layered import at_layer, of_neuron
from steelyard_interpretability.methods.question import Question
from steelyard_interpretability.methods.registry import METHODS
from steelyard_interpretability.methods.removal import occlusion
from steelyard_interpretability.methods.shapley import exact, kernel_shap

ROUNDS, STEPS, COALITIONS, BUDGET = 5, 50, 200, 256
SIZES = (16, 64, 128, 512)


class Attends(nn.Module):
    """Two layers of a transformer over sequences (N, 32, 64)."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs).mean(dim=1))


def mlp(inputs: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))


def cnn() -> nn.Module:
    body = (nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.ReLU())
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, 4))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def taught(model: Any, *shape: int, examples: int = 2048, epochs: int = 8) -> Any:
    """The model after it has learnt which of four sums of squares is largest: what is explained is a trained model."""
    inputs, order = noise(examples, *shape, seed=1), torch.Generator().manual_seed(2)
    parts = [part.square().mean(dim=1) for part in inputs.flatten(1).chunk(4, dim=1)]
    labels = torch.stack(parts, dim=1).argmax(dim=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(examples, generator=order).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[rows]), labels[rows]).backward()
            optimizer.step()
    return model.eval()


def question(model: Any, inputs: Tensor, **settings: Any) -> Question:
    """What spoke for the decision, from a baseline of zero, in passes as a run makes them."""
    with torch.no_grad():
        chosen = model(inputs).argmax(dim=1)
    shape = inputs.shape[-2:] if inputs.dim() == 4 else inputs.shape[1:]

    def score(x: Tensor, rows: Tensor) -> Tensor:
        return model(x).gather(1, chosen[rows][:, None])[:, 0]

    asked = Question(
        inputs=inputs,
        baselines=torch.zeros_like(inputs),
        units=torch.arange(shape.numel()).view(shape).expand(inputs.shape[1:]),
        present=torch.ones(len(inputs), shape.numel(), dtype=torch.bool),
        numbers=tuple(range(len(inputs))),
        seed=0,
        score=score,
        probability=score,
        task=model,
        **settings,
    )
    return replace(asked, at_once=fitting(asked, max_memory_mb=BUDGET).at_once)


def compare_gradients(name: str, model: Any, inputs: Tensor) -> Question:
    """All steps of all examples, against nothing but their gradients at the best of four batch sizes."""
    asked = question(model, inputs)
    rows = asked.rows()
    points, which = inputs.repeat(STEPS, *[1] * (inputs.dim() - 1)), rows.repeat(STEPS)

    def least(size: int) -> None:
        for some, of in zip(points.split(size), which.split(size), strict=True):
            leaf = some.requires_grad_()
            torch.autograd.grad(asked.score(leaf, of).sum(), leaf)

    def ours() -> object:
        return integrated(
            asked.score, inputs=inputs, baselines=asked.baselines, rows=rows, steps=STEPS, at_once=asked.at_once
        )

    best = min(SIZES, key=lambda size: min(clocked(partial(least, size)) for _ in range(3)))
    what = f"integrated gradients, {name}, of {STEPS} x (forward + backward) at {best}"
    found = ratio(ours, partial(least, best))
    if name == "MLP":
        print(f"{what:72} {found:7.2f}", flush=True)
    else:
        told(what, found, 1.10, least=False)
    return asked


def compare_steps(name: str, model: Any, asked: Question) -> None:
    inputs, target = asked.inputs, model(asked.inputs).argmax(dim=1)
    captum: Any = IntegratedGradients(model)
    found = stepped(asked)
    theirs = captum.attribute(inputs, target=target, n_steps=STEPS, return_convergence_delta=True)[1].abs()
    with torch.no_grad():
        change = (asked.score(inputs, asked.rows()) - asked.score(asked.baselines, asked.rows())).abs()
    speed = ratio(lambda: captum.attribute(inputs, target=target, n_steps=STEPS), partial(stepped, asked))
    told(f"{name}: as many steps as completeness asks for, against Captum's {STEPS}", speed, 6)
    print(
        f"    {float(found.steps.double().mean()):.1f} steps at the end on average, {int(found.converged.sum())} of "
        f"{len(inputs)} within 5 %, worst {float(found.errors.max()):.1%}; "
        f"Captum's worst {float((theirs / change).max()):.1%}"
    )


def compare_loop(model: Any, asked: Question) -> None:
    """One example after the other, as Captum is most often called."""
    target, captum = model(asked.inputs).argmax(dim=1), IntegratedGradients(model)
    act: Any = captum.attribute

    def loop() -> None:
        for row in range(len(target)):
            act(asked.inputs[row : row + 1], target=target[row : row + 1], n_steps=STEPS)

    def ours() -> object:
        settings = {"inputs": asked.inputs, "baselines": asked.baselines, "rows": asked.rows()}
        return integrated(asked.score, **settings, steps=STEPS, at_once=asked.at_once)

    told(f"integrated gradients, MLP, {STEPS} steps, against a loop of Captum's", ratio(loop, ours), 20)


def error(found: Tensor, right: Tensor) -> float:
    return float(((found - right).norm(dim=1) / right.norm(dim=1)).mean())


def compare_shapley() -> None:
    torch.manual_seed(0)
    model, inputs = taught(mlp(12, 64), 12), noise(32, 12)
    asked, target = question(model, inputs), model(inputs).argmax(dim=1)
    captum: Any = KernelShap(model)
    act = partial(captum.attribute, inputs, target=target, n_samples=COALITIONS)
    told(
        f"KernelSHAP, {COALITIONS} coalitions, against Captum's",
        ratio(act, partial(kernel_shap, asked, coalitions=COALITIONS)),
        150,
    )
    right = exact(asked).float()
    ours = [error(kernel_shap(replace(asked, seed=seed), coalitions=COALITIONS), right) for seed in range(ROUNDS)]
    theirs: list[float] = []
    for seed in range(ROUNDS):
        torch.manual_seed(seed)
        theirs.append(error(act(perturbations_per_eval=COALITIONS), right))
    what = f"its error against the exact values, {median(ours):.1%}, of Captum's, {median(theirs):.1%}"
    told(what, median(ours) / median(theirs), 0.5, least=False)
    whole = median(clocked(partial(exact, asked)) for _ in range(ROUNDS))
    told("exact Shapley values of 12 features of 32 examples, s", whole, 0.2, least=False)


def compare_windows() -> None:
    """Speed as a user meets it, in float32; the difference in float64, where it can only be a mistake."""
    torch.manual_seed(0)
    model = cnn()

    def both(inputs: Tensor) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
        asked, target = question(model, inputs), model(inputs).argmax(dim=1)
        captum: Any = Occlusion(model)
        window = {"sliding_window_shapes": (3, 4, 4), "strides": (3, 2, 2)}

        def loop() -> Tensor:
            pairs = zip(inputs.split(1), target.split(1), strict=True)
            return torch.cat([captum.attribute(one, target=to, **window) for one, to in pairs])

        return partial(occlusion, asked, window=(4, 4), stride=(2, 2)), loop

    ours, loop = both(noise(8, 3, 32, 32))
    told("occlusion, 225 windows, against a loop of Captum's", ratio(loop, ours), 2)
    model.double()
    ours, loop = both(noise(8, 3, 32, 32).double())
    # Captum gives a pixel's worth to each channel, and a unit here is a pixel: its channels share it.
    told(
        "    largest difference in float64, in millionths",
        1e6 * float((3 * ours() - loop()).abs().max()),
        1,
        least=False,
    )


def added(name: str, asked: Question, pipe: Any) -> None:
    """What a method adds to the peak of a process that has just been forked."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    METHODS[name].explain(asked)
    pipe.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def weigh() -> None:
    """Each method in a process of its own, before anything else has left memory to take again."""
    torch.manual_seed(0)
    background = noise(50, 3, 32, 32, seed=1)
    # A tenth of the draws takes as much memory as all of them.
    asked = question(cnn(), noise(32, 3, 32, 32), background=background, effort=0.1)
    layer = at_layer(asked, "2")
    otherwise = {
        "layer_activation": layer,
        "conductance": layer,
        "internal_influence": layer,
        "neuron_conductance": of_neuron(asked, "2", (0, 8, 8)),
    }
    METHODS["saliency"].explain(asked.only(torch.arange(1)))
    fork, found = get_context("fork"), dict[str, float]()
    for name in METHODS:
        here, there = fork.Pipe()
        process = fork.Process(target=added, args=(name, otherwise.get(name, asked), there))
        process.start()
        there.close()
        found[name] = here.recv()
        process.join()
    worst = max(found, key=lambda name: found[name])
    print(
        "MiB added by 32 pictures (50 more as a background): "
        + ", ".join(f"{name} {size:.0f}" for name, size in found.items())
    )
    told(f"most memory that a method adds, MiB ({worst})", found[worst], BUDGET, least=False)


class Pictures(LightningDataModule):
    """Noise with labels: what a report costs depends on the model alone."""

    def val_dataloader(self) -> Any:
        return DataLoader(TensorDataset(noise(256, 3, 32, 32).sigmoid(), torch.arange(256) % 10), batch_size=64)


def report() -> None:
    torch.manual_seed(0)
    body = (nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1, stride=2), nn.ReLU())
    head = (nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4096, 256), nn.ReLU(), nn.Linear(256, 10))
    model = nn.Sequential(*body, *head)
    run = Run(
        task=Classification(model=model, optimizer=partial(torch.optim.SGD, lr=0.1), classes=10).eval(),
        data=Pictures(),
        adapter=ImageAdapter(scoring=ClassScoring(), bounds=(0.0, 1.0)),
        seed=0,
        device=torch.device("cpu"),
        trained=True,
        folder=Path(),
    )
    size = sum(weight.numel() for weight in model.parameters())
    seconds = median(clocked(lambda: [*FaithfulnessAttachment(Faithfulness()).measure(run)]) for _ in range(3))
    told(f"the default report, 8 samples, 3 methods, {size / 1e6:.2f} million parameters, s", seconds, 20, least=False)


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    weigh()
    torch.manual_seed(0)
    perceptron, pictures = taught(mlp(32, 128), 32), taught(cnn(), 3, 32, 32, examples=512, epochs=4)
    asked = compare_gradients("MLP", perceptron, noise(64, 32))
    compare_loop(perceptron, asked)
    compare_steps("MLP", perceptron, asked)
    compare_steps("CNN", pictures, compare_gradients("CNN", pictures, noise(16, 3, 32, 32)))
    compare_gradients("transformer", Attends().eval(), noise(16, 32, 64))
    compare_shapley()
    compare_windows()
    report()


if __name__ == "__main__":
    main()
