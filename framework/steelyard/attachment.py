"""The live half of a plugin."""

from collections.abc import Iterator

from pytorch_lightning import Callback

from steelyard.measurement import Artefact, Measurement
from steelyard.runs import Run


class Attachment(Callback):
    """A plugin's live half, one per run: a Lightning callback with one more method, `measure`.

    Training hooks, checkpoint state (`state_dict`, `load_state_dict`: plain numbers and tensors, so that
    `weights_only=True` can load them) and ordering are Lightning's own; there is no second hook system.

    Attributes:
        key: `<challenge>.<plugin>`; the core sets it after `attach`.
        measures_last: True for a plugin that looks at what the others' measures cost.
        minds_losses: True for a plugin that deals with losses that are not finite; the core then leaves them to it,
            where it otherwise ends the run.
    """

    key: str = ""
    measures_last: bool = False
    minds_losses: bool = False

    @property
    def state_key(self) -> str:
        """Where the checkpoint keeps this attachment's state: Lightning's default is the class name, and collides."""
        return self.key or type(self).__qualname__

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """What this plugin has to say of the trained run, which it must leave as it found it.

        Every random stream is forked round this call, and gradients are on (Lightning's inference mode is off).

        Raises:
            Exception: Marks this plugin's section `failed`; the others measure, and the run ends with exit code 3.
        """
        del run
        return iter(())
