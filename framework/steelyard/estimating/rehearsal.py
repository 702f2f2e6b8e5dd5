"""A training without numbers: Lightning's own Trainer over tensors that have a shape and nothing else."""

import copy
import gc
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import median
from typing import Any, final

from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor

from steelyard import assembly, randomness
from steelyard._counting import parameters_in
from steelyard.building import plain_list
from steelyard.devices import on_gpu
from steelyard.draft import STEP_SEAMS, Draft
from steelyard.estimating import _fake
from steelyard.estimating._batches import Batches, batches_of
from steelyard.estimating._buffers import products
from steelyard.estimating._company import Moment
from steelyard.estimating._flops import FlopCount
from steelyard.estimating._heap import LEAN, in_training, rules_of
from steelyard.estimating._ledger import Ledger, tensors_in
from steelyard.estimating._programs import Call, Programs, calls
from steelyard.estimating._replay import Trace, held, spread
from steelyard.estimating._shapes import Shape, shape_of, total
from steelyard.estimating._surroundings import quiet, tidy
from steelyard.estimating._where import Where
from steelyard.estimating.estimate import Estimate
from steelyard.estimating.forecasting import count_epoch, count_steps, validates, validates_each_epoch
from steelyard.seam import Seam
from steelyard.selection import Selected

BOOKED = 2
"""The optimizer's state is made by the first step, so the second is the one that all others are like."""
STEPS_UNKNOWN = 10**6
"""Of a training whose end is open."""
STEPS = 2
"""Where batches differ in shape, there are more, for their operations and their requests."""
TRIED = 2
"""Batches of the validation that Lightning tries before the training by itself; of more no more are looked at."""
LONG = 5_000
"""Events of memory in a step from which on there are no more steps than the operations need."""


def rehearse(selected: Sequence[Selected], draft: Draft) -> Estimate:
    """Trains a few steps of the draft, with its plugins, on tensors without numbers.

    The draft, its data, every random stream and the machine's memory stay as they are; three batches are loaded for
    their shapes, and where these differ a whole epoch, up to a limit, and two of the validation that is tried before
    the training. Memory is that of the largest batch then, operations are the mean. A task that asks for numbers
    (`.item()`, a condition, a matching) is told "one", and that is noted.

    Args:
        selected: The plugins.
        draft: On the meta device or real; nothing has been attached to it.

    Raises:
        Exception: What the task or a plugin cannot do without numbers.
    """
    fakes = _fake.Fakes()
    with randomness.forked(), quiet(), tidy():
        # The same draft gives the same estimate, whatever batch its loader would draw.
        seed_everything(draft.seed, verbose=False)
        mine = replace(
            draft,
            task=fakes.copied(draft.task),
            trainer=dict(draft.trainer),
            loaders=[*draft.loaders],
            steps={seam: [*draft.steps[seam]] for seam in STEP_SEAMS},
            optimizers=[*draft.optimizers],
            rehearsal=True,
            forecast=None,
        )
        own, away = _copied(plain_list(mine.trainer.get("callbacks")))
        with fakes.copied_well():
            attachments = assembly.attach(selected, mine)
        fakes.fill(mine.task)
        watch = _Watch(mine, single=any(Seam.GRADIENTS in choice.plugin.owns for choice in selected))
        with assembly.wrapped(mine):
            each = int(mine.trainer.get("accumulate_grad_batches") or 1)
            inner = mine.data.train_dataloader()
            loader = batches_of(inner, fakes, size=mine.adapter.size, steps=STEPS, each=each)
            watch.steps, watch.least = loader.steps, loader.least
            watch.length, watch.epoch = count_steps(mine, loader=inner), count_epoch(mine, loader=inner)
            before = _looked_at_first(mine)
            with fakes.entered(watch.see):
                trainer = Trainer(
                    **_arguments(mine.trainer, steps=loader.steps),
                    callbacks=[
                        _First(watch),
                        *assembly.callbacks(selected, attachments),
                        *own,
                        watch,
                    ],
                )
                try:
                    trainer.fit(mine.task, train_dataloaders=loader)
                finally:
                    watch.stop()
        found = watch.estimate(fakes.assumed, loader, before)
        return replace(found, uncounted=(*found.uncounted, *away))


def _arguments(trainer: Mapping[str, Any], *, steps: int) -> dict[str, Any]:
    """The user's, without what needs other processes, other devices, writes files, or ends before so many steps."""
    most = trainer.get("max_steps")
    ours = {
        "callbacks",
        "logger",
        "strategy",
        "devices",
        "num_nodes",
        "profiler",
        "max_time",
        "fast_dev_run",
        "plugins",
        "limit_train_batches",
    }
    return {
        **{name: value for name, value in trainer.items() if name not in ours},
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 0,
        "max_steps": -1 if most in (None, -1) else max(int(most), steps),
        "detect_anomaly": False,
    }


def _copied(callbacks: Sequence[Callback]) -> tuple[list[Callback], list[str]]:
    """The user's callbacks, so that they remember nothing of what was no training, and those that cannot be copied."""
    found, away = list[Callback](), list[str]()
    for callback in callbacks:
        try:
            found.append(copy.deepcopy(callback))
        except Exception:  # whatever stands in the way; the plan says who stayed away
            away.append(f"the callback {type(callback).__name__}, which cannot be copied")
    return found, away


def _looked_at_first(draft: Draft) -> Sequence[Shape]:
    """Shapes of the batches with which Lightning tries a validation before the training; none where it has none."""
    if not validates(draft):
        return ()
    wanted = draft.trainer.get("num_sanity_val_steps")
    count = TRIED if wanted in (None, -1) else min(TRIED, int(wanted))
    try:
        batches = islice(draft.data.val_dataloader(), count)
        return [shape_of(batch, rows=draft.adapter.size(batch)) for batch in batches]
    except Exception:  # a forecast of the training does without; the run will say what is wrong with it
        return ()


@dataclass(frozen=True, slots=True)
class _Step:
    """What a step did.

    Attributes:
        shape: Of its batches, which are all alike.
        flops: Of the whole step.
        modules: Of these, by module.
    """

    shape: Shape
    flops: int
    modules: Counter[str]


@dataclass(frozen=True, slots=True)
class _Held:
    """By how many bytes a process grows.

    Attributes:
        now: As this process's allocator is set; several values, rising, since it is left to chance.
        lean: With the lean settings, or those of the environment; 0 where the C library has none, or where it is
            little.
    """

    now: Sequence[int]
    lean: int


@final
class _First(Callback):
    """Runs before everybody else: says what phase begins."""

    def __init__(self, watch: "_Watch") -> None:
        self._watch = watch

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._watch.begins(batch)


@final
class _Watch(Callback):
    """Keeps the books while the Trainer runs, and ends it after so many steps.

    Attributes:
        steps: To be taken.
        least: To be taken where a step takes long.
        length: Steps of the whole training; None where its end is open.
        epoch: Steps of an epoch; None where its loader has no length.
    """

    def __init__(self, draft: Draft, *, single: bool) -> None:
        self.steps = self.least = STEPS
        self.length: int | None = None
        self.epoch: int | None = None
        self._draft = draft
        self._single = single
        self._ledger = Ledger()
        self._flops = FlopCount()
        self._where = Where(draft.task)
        self._memory: dict[str, int] | None = None
        self._for_gpu: dict[str, int] | None = None
        self._ends: list[int] = []
        self._calls: list[list[Call]] = [[]]
        self._products: list[list[Call]] = [[]]
        self._forward: dict[int, tuple[int, int]] = {}
        self._steps: list[_Step] = []
        self._shape = Shape(rows=0, numbers=())
        self._examples = 0
        self._stepping = 0
        self._begun: int | None = None

    def see(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """One operation."""
        before = self._ledger.now()
        self._ledger.see(func, args, kwargs, out)
        flops = self._flops.add(func, args, kwargs, out)
        if flops:
            self._where.add(flops, forward=self._ledger.moment is Moment.FORWARD)
        start = self._ends[-1] if self._ends else 0

        def placed(call: Call) -> Call:
            early, late = (self._ledger.after(count, since=before) - start for count in call.takes)
            return replace(call, places=(early, late))

        self._calls[-1] += map(placed, calls(func, args, kwargs or {}, out))
        self._products[-1] += map(placed, products(func, args))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._label(trainer)
        self._where.start()

    def stop(self) -> None:
        """Takes its hooks off, also where the training never began."""
        self._where.stop()

    def begins(self, batch: Any) -> None:
        """A batch is there."""
        if self._begun is None:
            self._begun = self._ledger.now()
        rows = self._draft.adapter.size(batch)
        self._examples = max(self._examples, rows)
        self._ledger.rows = rows
        self._shape = shape_of(batch, rows=rows)
        for tensor in tensors_in(batch):
            self._ledger.note(tensor, "batch")
        if self._single:
            self._ledger.expect_examples(weight for weight in self._draft.task.parameters() if weight.requires_grad)
        self._ledger.phase, self._ledger.moment = "activations", Moment.FORWARD

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self._ledger.phase, self._ledger.moment = "workspace", Moment.BACKWARD
        self._forward.setdefault(len(self._calls) - 1, (len(self._calls[-1]), len(self._products[-1])))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        self._ledger.moment = Moment.REST
        self._label(trainer)
        self._stepping = self._ledger.mark()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._ledger.phase, self._ledger.moment = "workspace", Moment.REST
        self._label(trainer)
        gc.collect()
        if trainer.global_step > len(self._steps):
            # State that a plugin keeps elsewhere than in the optimizer.
            self._ledger.stayed("optimizer", since=self._stepping)
        if trainer.global_step > len(self._steps):
            self._steps.append(_Step(self._shape, self._flops.total, self._where.taken()))
            self._flops.total = 0
            self._ends.append(self._ledger.now())
            self._calls.append([])
            self._products.append([])
        if len(self._ends) > 1 and self._ends[1] - self._ends[0] > LONG:
            self.steps = min(self.steps, self.least)
        if len(self._steps) == self.steps:
            self._memory, self._for_gpu = self._ledger.peak(), self._ledger.peak(gpu=True)
            trainer.should_stop = True
            # No minimum of the user's may outvote it.
            trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = None, None

    def estimate(self, assumed: Counter[str], batches: Batches, validated: Sequence[Shape]) -> Estimate:
        """What was seen, and what a validation did before it with batches of some shapes."""
        if not self._steps:
            raise RuntimeError("no step was taken: the training data holds no batch")
        # Those before it may have tried something.
        flops = self._steps[-1].flops
        counted: dict[Shape, float] = {}
        if batches.seen and len(self._steps) > BOOKED:
            counted = {step.shape: float(step.flops) for step in self._steps}
            flops = round(total(counted, batches.seen).value / sum(batches.seen.values()))
        elif batches.expected and self._shape.rows:
            flops = round(flops / self._shape.rows * batches.expected)
        share = flops / (self._steps[-1].flops or 1)
        modules = Counter({name: round(share * count) for name, count in self._steps[-1].modules.items()})
        weights = list(self._draft.task.parameters())
        grown = self._held(batches, validated)
        notes = [f"FLOPs of {name} ({count} times)" for name, count in sorted(self._flops.unknown.items())]
        return Estimate(
            flops=flops,
            modules=dict(modules),
            memory=self._memory or self._ledger.peak(),
            on_gpu=self._for_gpu or self._ledger.peak(gpu=True),
            work=counted,
            most=max(step.flops for step in self._steps),
            held=round(median(grown.now)),
            held_most=grown.now[-1],
            held_lean=grown.lean,
            gpu=on_gpu(self._draft.trainer),
            parameters=parameters_in(self._draft.task),
            trainable=sum(weight.numel() for weight in weights if weight.requires_grad),
            examples=self._examples,
            precision=str(self._draft.trainer.get("precision") or "32-true"),
            batches=int(self._draft.trainer.get("accumulate_grad_batches") or 1),
            steps=self.length,
            uncounted=tuple(notes),
            uneven=batches.told,
            assumed=tuple(f"{name} ({count} times)" for name, count in sorted(assumed.items())),
        )

    def _held(self, batches: Batches, validated: Sequence[Shape]) -> _Held:
        events, sizes = self._ledger.events()
        # What has come and gone before the first batch is none of a training's growth.
        gone = {~event for event in events[: self._begun or 0] if event < 0}
        sizes = [0 if entry in gone else size for entry, size in enumerate(sizes)]
        shapes = [step.shape for step in self._steps]
        steady = min(batches.steady, max(1, len(shapes) - 1))
        forward = self._forward.get(steady, (0, 0))
        trace = Trace(
            events=events,
            sizes=sizes,
            ends=self._ends,
            shapes=shapes,
            programs=Programs(self._calls[:-1], shapes, steady=steady, forward=forward[0]),
            products=Programs(self._products[:-1], shapes, steady=steady, forward=forward[1]),
            validated=validated,
            moments=self._ledger.moments(),
            written=self._ledger.written(),
            gradients=self._ledger.gradients(),
            steady=steady,
            epoch=(self.epoch or 0) if validates_each_epoch(self._draft) else 0,
        )
        steps = self.length or STEPS_UNKNOWN
        rules, lean = in_training(rules_of()), in_training(rules_of({**os.environ, **LEAN}))
        now = spread(trace, batches.order, rules, steps=steps)
        if not rules_of().dynamic:
            return _Held(now=now, lean=now[-1])
        if platform.libc_ver()[0] != "glibc" or len(now) == 1:
            return _Held(now=now, lean=0)
        # Nothing is left to chance there.
        return _Held(now=now, lean=held(trace, batches.order, lean, steps=steps))

    def _label(self, trainer: Trainer) -> None:
        for tensor in (*self._draft.task.parameters(), *self._draft.task.buffers()):
            self._ledger.note(tensor, "weights")
            grad = tensor.grad if tensor.is_leaf else None
            if grad is not None:
                self._ledger.note(grad, "gradients")
        for optimizer in trainer.optimizers:
            for tensor in tensors_in(dict(optimizer.state)):
                self._ledger.note(tensor, "optimizer")
