"""A question to a frozen model: what spoke for these decisions on these inputs?"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

Ask = Callable[[Tensor, Tensor], Tensor]
"""Inputs (B, ...) and the numbers of the examples that they were made of (B,) -> one number for each (B,)."""

CHUNK = 256
"""Inputs in one pass: larger passes are slower on a CPU, and memory stays bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """N examples, the decisions on them, and a model to ask.

    Attributes:
        inputs: The continuous view (N, ...), without gradient.
        baselines: The inputs that say nothing (N, ...).
        units: The unit of attribution of each element, 0 to K-1, shaped as one example.
        present: Which units an example has (N, K), at least one: padding is none.
        numbers: Places of the examples in their split: what is drawn for an example depends on its own place alone.
        seed: Of everything that is drawn.
        score: The differentiable score of the decision.
        probability: That the model gives to the decision; without gradient.
        task: The modules behind the score, for methods that look at layers; None where there are none to look at.
        at_once: Inputs in one pass.
        effort: The share of the samples or steps that a method would take, above 0 to 1; less where time is short.
        layer: The name of the layer for methods of layers; None where the method is to choose.
        neuron: The place of the neuron in it whose value is explained in place of the decision.
        below: The question about the inputs and the decision, where this one is about a layer or a neuron.
        background: Inputs that stand for all (B, ...), for methods with more baselines than one.
        tolerance: The completeness error up to which the steps of integrated gradients double.
        max_steps: The number of steps at which they no longer double.
    """

    inputs: Tensor
    baselines: Tensor
    units: Tensor
    present: Tensor
    numbers: tuple[int, ...]
    seed: int
    score: Ask
    probability: Ask
    task: nn.Module | None = None
    at_once: int = CHUNK
    effort: float = 1.0
    layer: str | None = None
    neuron: tuple[int, ...] | None = None
    below: "Question | None" = None
    background: Tensor | None = None
    tolerance: float = 0.05
    max_steps: int = 512

    def at(self, inputs: Tensor) -> "Question":
        """The same question about other inputs (N, ...)."""
        below = None if self.below is None or self.neuron is None else self.below.at(inputs)
        return replace(self, inputs=inputs, below=below)

    def rows(self) -> Tensor:
        """The numbers of the examples as the score takes them: (N,)."""
        return torch.arange(len(self.inputs), device=self.inputs.device)

    def only(self, rows: Tensor) -> "Question":
        """The same question about some of the examples, by their numbers (B,)."""

        def at(ask: Ask) -> Ask:
            return lambda inputs, which: ask(inputs, rows[which])

        return replace(
            self,
            inputs=self.inputs[rows],
            baselines=self.baselines[rows],
            present=self.present[rows],
            numbers=tuple(self.numbers[int(row)] for row in rows),
            score=at(self.score),
            probability=at(self.probability),
            below=None if self.below is None else self.below.only(rows),
        )

    def streams(self, stream: int) -> list[np.random.Generator]:
        """A random stream for each example, the same whatever stands beside it."""
        return [np.random.default_rng([self.seed, stream, number]) for number in self.numbers]

    def scaled(self, count: int) -> int:
        """As many samples as the effort allows, at least 2."""
        return max(2, round(count * self.effort))


Explain = Callable[[Question], Tensor]
"""A method: attributions shaped as the question's inputs (N, ...)."""


def per_unit(attributions: Tensor, question: Question) -> Tensor:
    """Sum of the attributions in each unit (N, K), 0 at what an example does not have."""
    sums = attributions.new_zeros(question.present.shape)
    return sums.index_add_(1, question.units.flatten(), attributions.flatten(1)) * question.present


def spread(values: Tensor, question: Question, *, units: Tensor | None = None) -> Tensor:
    """Each unit's value (N, K) shared evenly by those of its elements that an example has: (N, ...).

    Args:
        values: One number for each unit.
        question: Of N examples.
        units: The unit of each element; None for those of the question.
    """
    units = question.units if units is None else units
    there = question.present[:, question.units].to(values.dtype)
    sizes = torch.zeros_like(values).index_add_(1, units.flatten(), there.flatten(1)).clamp(min=1)
    return ((values / sizes)[:, units] * there).to(question.inputs.dtype)


@torch.no_grad()
def asked(ask: Ask, question: Question, inputs: Tensor, rows: Tensor) -> Tensor:
    """Answers for inputs (B, ...) made of the examples `rows` (B,), so many at once as the question allows: (B,)."""
    size = question.at_once
    # A copy, since a model may work in place on what it is given.
    parts = [ask(inputs[at : at + size].clone(), rows[at : at + size]) for at in range(0, len(rows), size)]
    return torch.cat(parts) if parts else inputs.new_zeros(0)


@torch.no_grad()
def masked(ask: Ask, question: Question, keep: Tensor) -> Tensor:
    """The masked-forward engine: answers where only some units are kept, the others at the baseline: (N, M).

    Occlusion, ablation, Shapley values, deletion and insertion are all questions of this kind. No more than
    `question.at_once` inputs exist at a time.

    Args:
        ask: The question's `score` or `probability`.
        question: Of N examples.
        keep: Which units stay, in M variants of each example (N, M, K), or in the same M variants of all (M, K).
    """
    count, shared = len(question.inputs), keep.dim() == 2
    variants = keep.shape[-2]
    total = count * variants
    flat = keep if shared else keep.flatten(0, 1)
    answers: list[Tensor] = []
    for start in range(0, total, question.at_once):
        numbers = torch.arange(start, min(start + question.at_once, total), device=keep.device)
        rows = numbers // variants
        stays = flat[numbers % variants if shared else numbers][:, question.units]
        answers.append(ask(torch.where(stays, question.inputs[rows], question.baselines[rows]), rows))
    return torch.cat(answers).view(count, variants)
