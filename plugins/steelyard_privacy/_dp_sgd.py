# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The live half of `privacy=dp_sgd`."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from steelyard.attachment import Attachment
from steelyard.draft import Draft, Step
from steelyard.measurement import Artefact, Measurement
from steelyard.problem import refuse
from steelyard.runs import Run
from steelyard.seam import Seam
from steelyard_privacy._adaptive import ClippingNorm
from steelyard_privacy._batches import pieces, rows, take
from steelyard_privacy._choice import Choice
from steelyard_privacy._clipping import privatised
from steelyard_privacy._controls import Controls, seal
from steelyard_privacy._crew import Crew, crew
from steelyard_privacy._engine import Objective
from steelyard_privacy._ledger import Tampered, Writer, beside_outputs
from steelyard_privacy._meanings import meant
from steelyard_privacy._noise_watch import NoiseWatch
from steelyard_privacy._obstacles import check_layers
from steelyard_privacy._outputs import Output, give_backward, returned, spare_backward
from steelyard_privacy._plan import Plan, make_plan
from steelyard_privacy._pooling import Pool
from steelyard_privacy._randomness import Randomness
from steelyard_privacy._released import Account, Clipping, clipping, promised, untold
from steelyard_privacy._sampling import PoissonLoader, population_of
from steelyard_privacy._sensitivity import clip_by, sensitivity, slack
from steelyard_privacy._spending import Ledger, fingerprint, summed_up
from steelyard_privacy._sums import Layout, Sums, trained
from steelyard_privacy._tally import Tally
from steelyard_privacy.dp_sgd import DPSGD

SENSITIVITY_TRIES = 10
PORTIONS, LEAST_STEPS = 20, 400
"""The ledger is told of so many steps at once that a killed run is charged for at most a twentieth too much."""


class BudgetExhausted(RuntimeError):
    """A step beyond the last one that the target epsilon affords."""


def attach(plugin: DPSGD, draft: Draft) -> "PrivateTraining":
    """The attachment, its wraps put into the draft.

    Raises:
        Refused: If there is no plan that keeps the promise.
    """
    check_layers(draft.task)  # Others may have changed them since preflight.
    plan = make_plan(plugin, draft)
    data = fingerprint(draft.data)
    attachment = PrivateTraining(plugin, plan, draft.task, data=data, rehearsal=draft.rehearsal)
    draft.loaders.append(attachment.poisson)
    draft.steps[Seam.BATCHES].append(attachment.private)
    # Through max_steps, so that learning rate schedules see the end, and min_epochs cannot outvote it.
    planned, affordable = plan.planned_steps, plan.affordable_steps
    if affordable is not None and (planned is None or affordable < planned):
        draft.trainer["max_steps"] = affordable
    return attachment


@final
class PrivateTraining(Attachment):
    """DP-SGD from outside the task.

    One Lightning batch is one drawn (logical) batch and one step: the wrapped training step adds up clipped
    per-example gradients, and `on_before_optimizer_step` adds the noise and hands the result to the optimizer. The
    task's layers are touched only while its training step runs.
    """

    def __init__(self, plugin: DPSGD, plan: Plan, task: LightningModule, *, data: str, rehearsal: bool = False) -> None:
        mechanism = plan.mechanism
        self._plugin = plugin
        self._plan = plan
        self._task = task
        self._data = data
        self._rehearsal = rehearsal
        self._randomness = Randomness(0 if rehearsal else plugin.noise_seed, simulated=rehearsal)
        self._account = Account(
            steps=0,
            rate=mechanism.rate,
            noise_multiplier=mechanism.noise_multiplier,
            delta=mechanism.delta,
            population=len(plan.population.indices),
        )
        self._norm = ClippingNorm(plugin, batch_size=float(plan.population.batch_size))
        self._restored = False
        self._controls = Controls(population=len(plan.population.indices), rate=mechanism.rate)
        self._watch = NoiseWatch(self._controls.noise)
        # A rehearsal looks at what it takes, once.
        self._tries = 1 if rehearsal else SENSITIVITY_TRIES
        self._tally, self._counted = Tally(), (0, 0)
        self._optimizer: Optimizer | None = None
        self._loader: PoissonLoader | None = None
        self._served = 0
        self._sums: Sums | None = None
        self._choice: Choice | None = None
        self._worked: Choice | None = None
        self._pending: Tensor | None = None
        self._ledger: Ledger | None = None
        self._whole: float | None = None
        self._crew = Crew()

    # The wraps.

    def poisson(self, loader: Iterable[Any]) -> PoissonLoader:
        """The same examples, drawn by Poisson sampling."""
        population = population_of(loader)
        if len(population.indices) != self._account.population or population.rate != self._account.rate:
            raise RuntimeError("the training data has changed its size since the noise was chosen")
        source: Any = loader
        together = crew()
        self._loader = PoissonLoader(
            source=source,
            population=population,
            randomness=self._randomness,
            step=lambda: self._account.steps,
            watch=self._controls.draws.add,
            part=(together.number, together.count),
            wanted=self._wanted,
        )
        self._served = 0
        return self._loader

    def _wanted(self, step: int) -> int | None:
        """Of a rehearsal the third step, when it is known what is cut, is one that takes most memory."""
        if not self._rehearsal or step < 2 or self._choice is None:
            return None
        return self._plan.fullest(self._largest(self._choice))

    def private(self, inner: Step) -> Step:
        """A training step that makes no gradients but those of single examples."""

        def step(batch: Any, *rest: Any, **named: Any) -> Any:
            return self._step(batch, lambda piece: inner(piece, *rest, **named))

        return step

    # What Lightning calls.

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks once more, now that all layers and the optimizer exist.

        Raises:
            Refused: If the guarantee would not hold.
        """
        check_layers(pl_module)
        self._crew = crew()
        if self._crew.count > 1:
            if not isinstance(trainer.strategy, DDPStrategy):
                raise refuse("DP-SGD needs the whole weights in each process", fix="trainer=ddp")
            self._randomness.agree(self._crew.secret())
        if len(trainer.optimizers) != 1:
            raise refuse(f"DP-SGD needs one optimizer, the task has {len(trainer.optimizers)}", fix="privacy=none")
        self._optimizer = trainer.optimizers[0]
        if isinstance(self._optimizer, LBFGS):
            raise refuse("LBFGS looks at the same batch several times a step", fix="optimizer=sgd")
        if getattr(self._optimizer, "looks_twice", False):
            name = type(self._optimizer).__name__
            raise refuse(f"{name} looks at each batch twice, and each look would cost epsilon", fix="optimizer=sgd")
        self._check_account()
        self._whole = self._plan.epsilon
        # One run is charged once, however many processes it has.
        self._ledger = None if self._rehearsal or self._crew.number else self._opened(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Others may change what an example is, but nobody what is drawn.

        Raises:
            Refused: If something stands between the draws and the training.
        """
        if trainer.train_dataloader is not self._loader and not self._rehearsal:
            name = type(trainer.train_dataloader).__name__
            raise refuse(f"{name} changes the batches after they were drawn, which nothing accounts for")

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Gives the optimizer the private gradient, and nothing else.

        Raises:
            BudgetExhausted: If the target epsilon does not afford this step.
        """
        give_backward(pl_module)
        total, self._pending, sums = self._pending, None, self._sums
        if total is None or sums is None:
            raise RuntimeError("the optimizer steps without a private gradient: something has gone past DP-SGD")
        # A rehearsal takes two steps and more, also of a training that affords one.
        limit = None if self._rehearsal else self._plan.affordable_steps
        if limit is not None and self._account.steps >= limit:
            raise BudgetExhausted(f"epsilon {self._plugin.target_epsilon} affords {limit} steps and they are taken")
        if self._ledger is not None:
            self._ledger.writer.step()
        max_norm, noise_multiplier = self._norm.value, self._norm.noise_for(self._account.noise_multiplier)
        normals = self._randomness.noise(step=self._account.steps, device=total.device)
        batch_size = float(self._plan.population.batch_size)
        if not self._rehearsal:
            self._watch.before(total, sizes=sums.layout.sizes)
        released = privatised(
            total, max_norm=max_norm, noise_multiplier=noise_multiplier, batch_size=batch_size, normals=normals
        )
        if not self._rehearsal:
            self._watch.after(released, batch_size=batch_size, scale=noise_multiplier * max_norm)
        parts = sums.views.values() if released is total else sums.layout.parts(released)
        for parameter, part in zip(sums.layout.parameters, parts, strict=True):
            parameter.grad = part if part.dtype == parameter.dtype else part.to(parameter.dtype)
        self._account.steps += 1
        self._norm.follow(normals)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Shows what was spent so far at most: the quick bound, and never more than the whole run is going to cost.

        At the pace of the logger (`log_every_n_steps`) and at the end of an epoch: a call of `log` costs more than all
        else that a private step adds to a small one.
        """
        self._controls.steps_taken = taken = trainer.global_step
        # Lightning sets it on the instance, where type checkers do not look.
        pace = max(1, int(getattr(trainer, "log_every_n_steps", 1)))
        if taken % pace and not trainer.is_last_batch:
            return
        account, whole = self._account, self._whole
        spent = account.mechanism.live_epsilon(steps=account.steps)
        if whole is not None and account.steps <= (self._plan.steps or 0):
            spent = min(spent, whole)
        pl_module.log("privacy_epsilon", spent, prog_bar=True, on_step=True, on_epoch=False, batch_size=1)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tells the ledger how many steps were taken."""
        self._counted = self._crew.counted(self._tally.clipped, self._tally.seen, device=pl_module.device)
        if self._ledger is not None:
            self._ledger.writer.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """The same, of a training that broke off."""
        give_backward(pl_module)
        if self._ledger is not None:
            self._ledger.writer.close()

    def state_dict(self) -> dict[str, Any]:
        """The account in plain numbers, and the seal over its terms."""
        return {**asdict(self._account), **self._norm.state(), "seal": self._sealed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on counting where the checkpoint stopped."""
        terms = dict(state_dict)
        self._norm.restore(terms)
        self._controls.restored(terms.pop("seal", None))
        self._account = Account(**terms)
        self._restored = True

    @meant
    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """The promise, and how often clipping took hold."""
        if not run.trained and not self._restored:
            yield from untold("needs training: this checkpoint says nothing of a private one")
            return
        found = ["the noise does not have the size that was promised"] if self._watch.test.failed() else []
        found += self._controls.complaints(steps=self._account.steps, seal=self._sealed())
        yield from promised(self._account, complaint="; ".join(found))
        yield from self._controls.measurements(found)
        if self._ledger is not None:
            yield summed_up(self._ledger, delta=self._account.delta)
        yield clipping(
            Clipping(
                clipped=self._counted[0],
                seen=self._counted[1],
                max_norm=self._norm.value,
                moves=self._norm.moves,
                engine="none" if self._choice is None else self._choice.name,
            )
        )

    # The private step.

    def _step(self, batch: Any, training_step: Callable[[Any], Any]) -> Any:
        sums, choice = self._ready()
        # The last gradient lies where the next sum is made, which nobody may see without its noise.
        for parameter in sums.layout.parameters:
            parameter.grad = None
        count = self._count(batch)
        self._try(batch, count, lambda piece: Output(training_step(piece), 1).loss)
        cuts = pieces(count, largest=self._largest(choice))
        sums.reset(patient=len(cuts) > 1)
        norms: list[Tensor] = []
        outputs: list[Output] = []
        with Pool(self._task, count=count) as pool:

            def objective(piece: Any) -> Tensor | None:
                pool.weight = count if piece is batch else rows(piece)
                output = Output(training_step(piece), pool.weight)
                outputs.append(output)
                return output.loss

            for cut in cuts:
                norms.append(
                    choice.add_clipped(
                        sums,
                        batch if len(cuts) == 1 else take(batch, cut),
                        count=cut.stop - cut.start,
                        objective=objective,
                        max_norm=self._norm.value,
                    )
                )
        self._worked = choice if count else self._worked
        self._pending = total = sums.total()
        self._crew.add_up(total)
        found = norms[0] if len(norms) == 1 else torch.cat([total[:0], *norms])
        if not self._rehearsal:
            self._norm.see(found, self._crew)
        self._tally.add(found, max_norm=self._norm.value)
        if not self._rehearsal:
            spare_backward(self._task)
        return returned(outputs, found)

    def _largest(self, choice: Choice) -> int | None:
        expected = -(-self._plan.population.batch_size // self._crew.count)
        return self._plugin.max_physical_batch_size or choice.largest(expected)

    def _ready(self) -> tuple[Sums, Choice]:
        """The engine for the weights that the optimizer trains now: callbacks may thaw some on the way."""
        assert self._optimizer is not None
        weights = trained(self._optimizer)
        sums, choice = self._sums, self._choice
        if sums is None or choice is None or not sums.layout.is_of(weights):
            sums = Sums(Layout(weights))
            choice = Choice(self._plugin.engine, task=self._task, layout=sums.layout, ways=self._plugin.ways)
            self._sums, self._choice = sums, choice
        return sums, choice

    def _count(self, batch: Any) -> int:
        """The number of examples, which must be the number that was drawn."""
        loader = self._loader
        if loader is None or loader.batches == self._served:
            raise RuntimeError(
                "a batch was worked on twice, or was not drawn by DP-SGD; only one pass can be accounted for"
            )
        self._served = loader.batches
        count = rows(batch)
        if count != loader.drawn:
            raise RuntimeError(f"{loader.drawn} examples were drawn, but {count} rows reached the training step")
        return count

    def _try(self, batch: Any, count: int, trial: Objective) -> None:
        """Proves the engine, and tries on one of the first batches how far a single example moves the sum."""
        sums, choice, controls = self._sums, self._choice, self._controls
        assert sums is not None
        assert choice is not None
        # The engine is chosen in training mode, by the first batch that there is.
        if choice is self._worked and controls.sensitivity is None and self._tries and count >= 2:
            self._tries -= 1
            controls.sensitivity = sensitivity(clip_by(choice, sums, trial), batch, count=count, task=self._task)
            controls.slack = slack(self._task, sums.layout.device)
        choice.prepare(sums, batch, count=count, trial=trial)

    def _sealed(self) -> str:
        return seal(**{name: value for name, value in asdict(self._account).items() if name != "steps"})

    def _opened(self, trainer: Trainer) -> Ledger:
        mechanism = self._plan.mechanism
        path = self._plugin.ledger or beside_outputs(Path(trainer.default_root_dir))
        try:
            writer = Writer(
                path,
                data=self._data,
                rate=mechanism.rate,
                noise_multiplier=mechanism.noise_multiplier,
                stride=max(1, (self._plan.steps or LEAST_STEPS) // PORTIONS),
            )
        except Tampered as tampered:
            raise refuse(
                f"the privacy ledger {path} cannot be trusted: {tampered}",
                fix="privacy.dp_sgd.ledger=NEW_FILE  (and keep the old one: what it says is spent, is spent)",
            ) from tampered
        return Ledger(path=path, data=self._data, writer=writer)

    def _check_account(self) -> None:
        """A resumed run has to go on with the mechanism that it began with."""
        mechanism, account = self._plan.mechanism, self._account
        for name, was, now in (
            ("noise multiplier", account.noise_multiplier, mechanism.noise_multiplier),
            ("sampling rate", account.rate, mechanism.rate),
            ("delta", account.delta, mechanism.delta),
            ("number of examples", account.population, len(self._plan.population.indices)),
        ):
            if not math.isclose(was, now, rel_tol=1e-9):
                raise refuse(
                    f"the run was begun with {name} {was:.6g} and cannot go on with {now:.6g} on the same account",
                    fix="resume with the settings that the run was begun with",
                )
