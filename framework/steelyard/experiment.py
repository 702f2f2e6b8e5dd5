"""One run, from the composed config to the scorecard; each step uses only what came before."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, seed_everything
from pytorch_lightning.loggers import Logger

from steelyard import (
    assembly,
    building,
    checkpoints,
    folder,
    processor,
    provenance,
    ranks,
    recording,
    requirements,
    spec,
    tracking,
    training,
)
from steelyard.draft import Draft
from steelyard.estimating.forecasting import forecaster
from steelyard.folder import State
from steelyard.looking import look
from steelyard.measuring import plugin_sections, task_section
from steelyard.preflight import preflight
from steelyard.problem import Refused, refuse
from steelyard.ranks import Facts, Rank, Spread
from steelyard.runs import Run
from steelyard.scorecard import Scorecard
from steelyard.selection import Selected, plugins_of
from steelyard.stopping import Pruned, Terminated, terminable

Announce = Callable[[Path], None]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be done.

    Attributes:
        config: The composed config, without the hydra node.
        choices: Config group -> chosen option(s).
        overrides: The words of the command line.
        notes: Remarks of the composition.
        checkpoint: Weights to weigh, or the state to go on from.
        train: False for `weigh`.
        watch: Follows the training from outside and changes nothing; it takes the place of the progress bar.
        command: What was typed, where it was not `steelyard run` with the overrides.
    """

    config: DictConfig
    choices: Mapping[str, str]
    overrides: Sequence[str]
    notes: Sequence[str] = ()
    checkpoint: Path | None = None
    train: bool = True
    watch: Callback | None = None
    command: str | None = None


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that has passed preflight.

    Attributes:
        order: What was ordered.
        selected: The plugins.
        draft: The plain draft.
        notes: Remarks of the composition and of preflight.
        fingerprint: Of the data, or None where the data module has none.
        spec: The spec hash.
    """

    order: Order
    selected: tuple[Selected, ...]
    draft: Draft
    notes: tuple[str, ...]
    fingerprint: str | None
    spec: str


def run(
    config: DictConfig,
    *,
    choices: Mapping[str, str],
    overrides: Sequence[str],
    notes: Sequence[str] = (),
    outputs: Path = Path("outputs"),
    folder_name: str | None = None,
    announce: Announce | None = None,
    watch: Callback | None = None,
    checkpoint: Path | None = None,
    command: str | None = None,
) -> Scorecard:
    """Trains, weighs and reports one run in a folder of its own.

    Args:
        config: Composed, without the hydra node.
        choices: Config group -> chosen option(s).
        overrides: The words of the command line.
        notes: Remarks of the composition, for the report.
        outputs: Where the run folder is made.
        folder_name: Its name in a sweep; a refused trial then leaves its status there.
        announce: Called with the run folder as soon as it exists.
        watch: Follows the training from outside and changes nothing; it takes the place of the progress bar.
        checkpoint: Of another run: the state to go on from.
        command: What was typed, where it was not `steelyard run` with the overrides.

    Raises:
        Refused: Before training; no folder stays behind (except in a sweep).
        KeyboardInterrupt: The folder says `interrupted`, and `resume` goes on.
        Terminated: The folder says `terminated`, and `resume` goes on.
        Pruned: A search gave the run up; the folder says `pruned`.
        Exception: The folder says `failed` and holds traceback.txt.
    """
    order = Order(
        config=config,
        choices=choices,
        overrides=overrides,
        notes=notes,
        checkpoint=checkpoint,
        watch=watch,
        command=command,
    )
    return _fresh(order, outputs, folder_name, announce)


def weigh(
    config: DictConfig,
    *,
    ckpt: Path,
    choices: Mapping[str, str],
    overrides: Sequence[str],
    notes: Sequence[str] = (),
    outputs: Path = Path("outputs"),
    folder_name: str | None = None,
    announce: Announce | None = None,
    watch: Callback | None = None,
    command: str | None = None,
) -> Scorecard:
    """Weighs the model of a Lightning checkpoint without training it; all else is as for `run`."""
    order = Order(
        config=config,
        choices=choices,
        overrides=overrides,
        notes=notes,
        checkpoint=ckpt.absolute(),
        train=False,
        watch=watch,
        command=command,
    )
    return _fresh(order, outputs, folder_name, announce)


def resume(place: Path, *, announce: Announce | None = None, watch: Callback | None = None) -> Scorecard:
    """Goes on with a run that was interrupted, terminated, killed or failed; composes nothing.

    Raises:
        Refused: If there is nothing to go on with, or the data has changed.
    """
    try:
        state = folder.status(place).state
        config = OmegaConf.load(place / "config.yaml")
        came_from = folder.read_json(place / "provenance.json")
    except (FileNotFoundError, ValueError) as error:
        raise refuse(f"{place} cannot be resumed: {error}") from error
    assert isinstance(config, DictConfig)
    if state in (State.DONE, State.RUNNING):
        raise refuse(f"{place} is {state}: there is nothing to resume")
    hidden = spec.masked_paths(spec.plain(config))
    if hidden:
        raise refuse(
            f"{hidden[0]} is a secret and was not kept", fix=f"run again with {hidden[0]}='${{oc.env:MY_SECRET}}'"
        )
    last = place / "checkpoints" / checkpoints.LAST
    weighed = came_from.get("checkpoint")
    checkpoint = Path(weighed) if weighed else last if last.exists() else None
    order = Order(
        config=config,
        choices=came_from["choices"],
        overrides=came_from["overrides"],
        notes=came_from["notes"],
        checkpoint=checkpoint,
        train=weighed is None,
        watch=watch,
        command=came_from["command"],
    )
    with _way(order) as way:
        facts = way.prepare()
        if facts.fingerprint != came_from["data_fingerprint"]:
            raise refuse(f"the data has changed since {place.name} was started: resuming would mix two data sets")
        if announce is not None:
            announce(place)
        return _carry_out(way, place, discard=False)


def _fresh(order: Order, outputs: Path, folder_name: str | None, announce: Announce | None) -> Scorecard:
    with _way(order) as way:
        try:
            facts = way.prepare()
        except Refused as refusal:
            if folder_name is not None:
                recording.record_refusal(folder.create(outputs, folder_name), order, refusal)
            raise
        place = folder.create(outputs, folder_name or f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{facts.spec[:8]}")
        if announce is not None:
            announce(place)
        return _carry_out(way, place, discard=folder_name is None)


def _way(order: Order) -> "Spread | Here":
    """In this process, or in as many as the Trainer asks for."""
    count = ranks.count(order.config.get("trainer") or {}) if order.train else 1
    return Here(order, None) if count == 1 else Spread(count, lambda rank: Here(order, rank))


class Here:
    """A run in this process: on its own, or as one of several ranks.

    Args:
        order: What is to be done.
        rank: Which of several this is, or None.
    """

    def __init__(self, order: Order, rank: Rank | None) -> None:
        self._order, self._rank = order, rank
        self._prepared: Prepared | None = None
        self._loggers: Sequence[Logger] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def prepare(self) -> Facts:
        """Steps 4 to 7."""
        self._prepared = prepare(self._order)
        return Facts(spec=self._prepared.spec, fingerprint=self._prepared.fingerprint)

    def carry(self, place: Path) -> Scorecard | None:
        """Steps 8 to 11; None on all ranks but the first."""
        assert self._prepared is not None
        if self._rank is None or self._rank.first:
            self._loggers = tracking.loggers(self._order.config, place)
        return _steps(self._prepared, place, self._loggers, self._rank)

    def deliver(self, place: Path, scorecard: Scorecard) -> None:
        """Tells the trackers."""
        tracking.deliver(self._loggers, self._order.config, place, scorecard)


def prepare(order: Order) -> Prepared:
    """Steps 4 to 7: seed, declarations, plain draft, preflight.

    Raises:
        Refused: With every problem.
    """
    config = order.config
    found = [*requirements.problems(spec.plain(config).get("require") or {}), *tracking.check(config)]
    selected = plugins_of(config)
    if found:
        raise Refused(found)
    data = building.make_data(config)
    # Again, so that the first weights do not depend on what the data module drew.
    seed_everything(int(config.seed), workers=True, verbose=False)
    draft = building.make_draft(config, data)
    draft.forecast = forecaster(selected, draft)
    problems = preflight(selected, draft)
    if selected:
        look(draft)
    fingerprint = recording.fingerprint(data)
    facts = {"data": fingerprint or "", **provenance.versions(recording.imports(selected))}
    return Prepared(
        order=order,
        selected=selected,
        draft=draft,
        # A resumed run has said the same before.
        notes=tuple(dict.fromkeys((*order.notes, *(recording.note(problem) for problem in problems)))),
        fingerprint=fingerprint,
        spec=spec.spec_hash(config, facts=facts),
    )


def _carry_out(way: "Spread | Here", place: Path, *, discard: bool) -> Scorecard:
    """Steps 8 to 12 under the folder's lock; whatever happens, the folder says so."""
    with contextlib.ExitStack() as stack:
        try:
            journal = stack.enter_context(folder.opened(place))
        except OSError:
            # Not even the first words could be written.
            if discard:
                folder.discard(place)
            raise
        stop = stack.enter_context(terminable())
        try:
            scorecard = way.carry(place)
            assert scorecard is not None
            journal.end(State.DONE, exit_code=scorecard.exit_code, message=recording.verdict(scorecard))
            _report(place)
            way.deliver(place, scorecard)
        except Refused as refusal:
            journal.try_end(State.REFUSED, exit_code=2, message=str(refusal))
            if discard:
                folder.discard(place)
            raise
        except (KeyboardInterrupt, Terminated) as end:
            _stopped(journal, place, end)
            raise
        except Pruned as pruned:
            journal.try_end(State.PRUNED, exit_code=0, message=str(pruned))
            raise
        except BaseException as error:
            if stop.asked is not None:
                # A signal in the middle of a write by compiled code, which hides what came through it.
                _stopped(journal, place, stop.asked)
                raise stop.asked from error
            recording.record_failure(journal, place, error)
            raise
    return scorecard


def _stopped(journal: folder.Journal, place: Path, end: KeyboardInterrupt | Terminated) -> None:
    state, code = (State.INTERRUPTED, 130) if isinstance(end, KeyboardInterrupt) else (State.TERMINATED, 143)
    journal.try_end(state, exit_code=code, message=f"steelyard resume {place}")


def _steps(prepared: Prepared, place: Path, loggers: Sequence[Logger], rank: Rank | None) -> Scorecard | None:
    order, draft, selected = prepared.order, prepared.draft, prepared.selected
    started, waited = time.monotonic(), processor.waited()
    keeps = rank is None or rank.first
    if keeps:
        text = OmegaConf.to_yaml(spec.masked(spec.plain(order.config)))
        folder.write_atomically(place / "config.yaml", text.encode())
    # 8. Attach, each plugin checked against its claims.
    attachments = assembly.attach(selected, draft)
    clocks = assembly.timed(attachments)
    trainer = training.make_trainer(
        order.config, draft, selected, attachments, place, loggers=loggers, watch=order.watch, rank=rank
    )
    device = trainer.strategy.root_device
    if keeps:
        folder.write_json(place / "provenance.json", recording.facts(prepared, device))
        tracking.begin(loggers, order.config, place, title=recording.title(order), spec_hash=prepared.spec)
    # 9. Train, with the wraps on; or load what is to be weighed.
    if order.train:
        seed_everything(draft.seed, workers=True, verbose=False)
        training.fit(trainer, draft, order.checkpoint, rank=rank)
        if not keeps:
            return None
    elif order.checkpoint is not None:
        training.load_weights(draft, attachments, order.checkpoint)
    # 10. Test; the run is frozen.
    logged = training.test(trainer if rank is None else training.tester(draft, place, device, loggers), draft)
    deadline = order.config.get("deadline")
    run = Run(
        task=training.widened(draft.task.to(device)).eval(),
        data=draft.data,
        adapter=draft.adapter,
        seed=draft.seed,
        device=device,
        trained=order.train,
        folder=place,
        deadline=None if deadline is None else time.monotonic() + float(deadline),
        seconds=clocks,
    )
    # 11. Measure and judge.
    sections = (task_section(run, logged), *plugin_sections(selected, attachments, run))
    measured = [row for section in sections for row in section.measurements]
    scorecard = Scorecard(
        title=recording.title(order),
        spec=prepared.spec,
        seed=draft.seed,
        sections=sections,
        requirements=requirements.judge(spec.plain(order.config).get("require") or {}, measured),
        choices=dict(order.choices),
        overrides=spec.masked_overrides(order.overrides),
        seconds=time.monotonic() - started,
        waited=processor.waited(since=waited),
        notes=prepared.notes if rank is None else (*prepared.notes, ranks.remark(rank)),
    )
    folder.write_json(place / "scorecard.json", scorecard.to_json())
    return scorecard


def _report(place: Path) -> None:
    """12. The report, from the folder alone."""
    from steelyard.report import render

    render(place)
