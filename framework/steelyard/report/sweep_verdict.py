"""The verdict on a sweep in words."""

from collections import Counter
from typing import TYPE_CHECKING

from steelyard.folder import State
from steelyard.report.verdict import Verdict, crowded
from steelyard.report.words import counted, listing

if TYPE_CHECKING:
    from steelyard.sweep import SweepSummary

MOST = 20
"""Trials without a scorecard that are named."""


def sweep_verdict(summary: "SweepSummary") -> Verdict:
    """How many trials ended how, and whether they met their requirements."""
    trials = summary.trials
    states = Counter(trial.state for trial in trials)
    weighed = [trial for trial in trials if trial.scorecard is not None]
    judged = [trial.scorecard for trial in weighed if trial.scorecard and trial.scorecard.requirements]
    met = sum(card.met for card in judged)
    broken = [trial.name for trial in weighed if trial.scorecard and trial.scorecard.failed]
    ended = listing(f"{count:,} {state}" for state, count in states.items())
    ended = f"all {trials[0].state}" if len(states) == 1 < len(trials) else ended
    lines = [f"{counted(len(trials), 'trial')}: {ended}."]
    if judged:
        everyone = "All" if met == len(judged) else f"{met} of {len(judged)}"
        lines.append(f"{everyone} met their requirements.")
    else:
        lines.append("No requirements were set.")
    lost = [trial for trial in trials if not trial.scorecard]
    details = [f"{trial.name} {trial.state}: {trial.reason or 'no reason is known'}" for trial in lost[:MOST]]
    details += [f"and {len(lost) - MOST:,} more in the table of trials"] if len(lost) > MOST else []
    details += [f"a plugin failed while measuring in {listing(broken)}; see the reports"] if broken else []
    details += crowded([trial.scorecard for trial in weighed if trial.scorecard])
    details += _single_seed(summary)
    # A search gives up trials on purpose.
    whole = all(trial.scorecard or trial.state == State.PRUNED for trial in trials)
    good = whole and not broken and met == len(judged)
    tone = "bad" if not good else "good" if judged else "open"
    return Verdict(tone=tone, line=" ".join(lines), details=tuple(details))


def _single_seed(summary: "SweepSummary") -> list[str]:
    """One seed says nothing of what another one would have given."""
    if len(summary.groups) < 2 or any(len(group.trials) > 1 for group in summary.groups):
        return []
    return [
        "One seed per group: intervals tell the chance in the choice of examples, not that of training. "
        "Add seed=0,1,2 to see how much seeds alone move each number."
    ]
