"""`stability=adversarial_training`: training on the worst change of each example, so that small changes matter less."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem
from steelyard.seam import Seam

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class AdversarialTraining(Plugin):
    """Lets every training example be attacked before it is learned from.

    * `pgd`: the task's own loss on the attacked examples alone (Madry et al. 2018, equation 2.1).
    * `trades`: the task's own loss on the clean examples, and `beta` times the divergence from the clean answers to
      those on the attacked examples (Zhang et al. 2019, equation 5); for tasks that give logits.

    The radius is in raw units of the inputs, whatever normalisation the model starts with; for texts it is a change of
    the embeddings. While it attacks, the model is in eval mode, and what it draws comes from the example and the step:
    no random stream and no buffer moves, and the attack on an example knows nothing of the others in its batch. A step
    takes about `steps` more passes forward and back.
    """

    shares = frozenset({Seam.OBJECTIVE})

    method: Annotated[Literal["pgd", "trades"], Option("which loss is minimised")] = "pgd"
    norm: Annotated[
        Literal["linf", "l2"], Option("linf: the largest change of any value; l2: the length of the change")
    ] = "linf"
    radius: Annotated[float, Option("how far the attack may go; 0 trains plainly", unit="raw unit", ge=0)] = 0.05
    steps: Annotated[int, Option("gradient steps of the attack", ge=1)] = 7
    step: Annotated[float, Option("length of such a step", unit="radii", gt=0)] = 0.25
    beta: Annotated[float, Option("weight of the divergence, for `trades`", ge=0)] = 6.0

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """The step must give a loss, and for TRADES the task must give logits."""
        from steelyard_stability._adversarial_training import logit_axis

        if not draft.task.automatic_optimization:
            yield Problem(
                f"{type(draft.task).__name__} steps its optimizer by itself: its loss cannot be changed from outside",
                fix="stability=none",
            )
        if self.method == "trades" and logit_axis(draft.adapter.scoring) is None:
            yield Problem(
                f"trades compares probabilities, and {type(draft.adapter.scoring).__name__} reads no logits",
                fix="stability.adversarial_training.method=pgd",
            )

    def attach(self, draft: Draft) -> Attachment:
        """Wraps the step: the batch is attacked, and then handed to the task's own step."""
        from steelyard_stability._adversarial_training import AdversarialTrainingAttachment

        attachment = AdversarialTrainingAttachment(self, draft)
        draft.steps[Seam.OBJECTIVE].append(attachment.wrap)
        return attachment
