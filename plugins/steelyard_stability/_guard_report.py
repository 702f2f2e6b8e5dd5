# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What a train guard says of a training: counts, the evidence, and the curves with the bad steps marked."""

from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from steelyard.measurement import Artefact, Better, Measurement, Picture, Status, Table
from steelyard.runs import Run
from steelyard_stability._faults import Fault
from steelyard_stability._guard_book import Book
from steelyard_stability._pictures import BLUE, GREY
from steelyard_stability._png import encoded
from steelyard_stability.train_guard import TrainGuard

RED = "#dc2626"
DRAWN = 20
"""Least steps for a picture."""
MEANINGS = {
    "skipped_steps": "steps that were kept from the weights because their loss, gradient or buffers were bad",
    "skipped_share": "part of all training steps that was kept from the weights",
    "not_finite": "steps with an infinite loss, gradient or buffer, or one that is no number",
    "spikes": "steps whose loss or gradient lay far above the steps before them",
    "level_shifts": "times that spikes did not end and were taken for a new level",
    "rewinds": "times that training went back to a snapshot",
}


def told(run: Run, book: Book, plugin: TrainGuard, *, private: bool) -> Iterator[Measurement | Artefact]:
    """The measurements, the table of evidence and the picture.

    Args:
        run: The trained run.
        book: What was seen.
        plugin: The settings.
        private: Whether only what is released was looked at, so that it may be told to everybody.
    """
    values = {
        "skipped_steps": float(book.bad),
        "skipped_share": book.bad / max(1, book.steps),
        "not_finite": float(book.bad - book.spikes),
        "spikes": float(book.spikes),
        "level_shifts": float(book.shifts),
        "rewinds": float(book.rewinds),
    }
    split = None if private else "train"
    notes = {"skipped_steps": _note(plugin, private=private)}
    if book.shifts and plugin.policy == "skip":
        notes["level_shifts"] = "where training went wrong there, stability.train_guard.policy=rewind goes back"
    for name, value in values.items():
        unit = "" if name == "skipped_share" else "times" if name in ("level_shifts", "rewinds") else "steps"
        if not run.trained or not book.steps:
            note = "there was no training in this run"
            yield Measurement(name=name, status=Status.SKIPPED, unit=unit, note=note, meaning=MEANINGS[name])
            continue
        yield Measurement(
            name=name,
            value=value,
            better=Better.LOWER,
            unit=unit,
            count=book.steps,
            split=split,
            note=notes.get(name, ""),
            meaning=MEANINGS[name],
        )
    if not run.trained:
        return
    if book.faults:
        yield _table(book, private=private)
    if len(book.curve) + len(book.marks) >= DRAWN:
        yield Picture(
            name="training",
            title="Loss and gradient norm of the training, bad steps marked"
            if not private
            else "Norm of the released gradient, bad steps marked",
            png=curves(book.curve, book.marks),
            alt=f"{book.steps} steps, of which {book.bad} were kept from the weights",
            split=split,
        )


def _note(plugin: TrainGuard, *, private: bool) -> str:
    spikes = "no spikes" if plugin.factor is None else f"spikes from {plugin.factor:g} deviations on"
    seen = "; only the released gradient was looked at" if private else ""
    return f"policy {plugin.policy}, {spikes}{seen}"


def _table(book: Book, *, private: bool) -> Table:
    heads = ["step", "epoch", "what", "then", "gradient norm (usual)", "largest gradients"]
    rest = (
        [] if private else ["loss (usual)", "batch", "not finite in the batch", "first seen in", "the same batch again"]
    )
    more = f" (the first {len(book.faults)} of {book.bad})" if book.bad > len(book.faults) else ""
    return Table(
        name="faults",
        title=f"Steps that were kept from the weights{more}",
        columns=[*heads[:4], *rest, *heads[4:]],
        rows=[_row(fault, private=private) for fault in book.faults],
        split=None if private else "train",
    )


def _row(fault: Fault, *, private: bool) -> Sequence[str | float | int | None]:
    norm = _beside(fault.norm, fault.usual_norm)
    row = [fault.step, fault.epoch, fault.kind, fault.action]
    if private:
        return [*row, norm, fault.layers]
    told = (_beside(fault.loss, fault.usual_loss), fault.batch, fault.content or "nothing", fault.where or "-")
    return [*row, *told, fault.again, norm, fault.layers]


def _beside(value: str, usual: float | None) -> str:
    return value if usual is None else f"{value} ({usual:.4g})"


def curves(
    curve: Sequence[tuple[int, float | None, float]], marks: Sequence[tuple[int, float | None, float | None]]
) -> bytes:
    """Loss above gradient norm over the steps, bad steps in red, as PNG; without losses the norm alone.

    Args:
        curve: Step, loss and norm of good steps.
        marks: The same of bad ones; None for what is not finite, drawn as a short line at the top.
    """
    both = any(loss is not None for _, loss, _ in curve)
    figure = Figure(figsize=(5.6, 3.8 if both else 2.3), layout="constrained")
    rows = figure.subplots(2 if both else 1, 1, sharex=True, squeeze=False)[:, 0]
    for axes, place in zip(rows, (1, 2) if both else (2,), strict=True):
        good = [(point[0], point[place]) for point in curve if point[place] is not None]
        axes.plot([step for step, _ in good], [value for _, value in good], color=BLUE, linewidth=1.2)
        found = [(mark[0], mark[place]) for mark in marks]
        seen = [(step, value) for step, value in found if value is not None]
        for step, value in found:
            if value is None:
                axes.axvline(step, ymin=0.93, color=RED, linewidth=1)
        axes.plot([step for step, _ in seen], [value for _, value in seen], "x", color=RED, markersize=5)
        if all(value > 0 for _, value in [*good, *seen] if value is not None):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter(FuncFormatter(_plainly))
            axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylabel("loss" if place == 1 else "gradient norm")
        axes.grid(color="#e5e7eb", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=GREY, labelcolor="#111827")
    rows[-1].set_xlabel("step")
    return encoded(figure)


def _plainly(value: float, place: int | None) -> str:
    """A tick of a logarithmic axis."""
    del place
    return f"{value:g}"
