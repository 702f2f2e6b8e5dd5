"""What the models of sound share."""

from collections.abc import Sequence

from torch import Tensor, nn

from steelyard.problem import refuse

FLAT = 1e-4
"""Variance of a spectrogram that counts as none."""


def levelled(mels: Tensor) -> Tensor:
    """Spectrograms (B, mels, frames), each brought to mean 0 and spread 1 by its own numbers.

    So loudness does not count, and no example knows of another.
    """
    centred = mels - mels.mean(dim=(1, 2), keepdim=True)
    # Silence is flat, and there a root has no gradient.
    return centred / (centred.square().mean(dim=(1, 2), keepdim=True) + FLAT).sqrt()


def loudness(mels: Tensor, *, floor: float, quiet: float, stride: int) -> Tensor:
    """How loud frames are beside their own example: near 0 in silence, near 1 in speech, 1/2 at `quiet`.

    A frame's energy over the sum of itself and `quiet` times the mean energy of the example. An example that is silent
    as a whole is silent everywhere.

    Args:
        mels: Logarithms of energy (B, mels, frames).
        floor: What was added to the energy before the logarithm.
        quiet: Part of the mean energy.
        stride: Frames that become one; each is the mean of those it sees and of as many beside them.

    Returns:
        (B, ceil(frames / stride)), in [0, 1).
    """
    energy = (mels.float().exp() - floor).clamp(min=0).mean(dim=1)
    near = nn.functional.avg_pool1d(
        energy[:, None], 2 * stride + 1, stride=stride, padding=stride, count_include_pad=False
    )[:, 0]
    return near / (near + quiet * energy.mean(dim=1, keepdim=True) + floor)


def check_sound(input_shape: Sequence[int], *, model: str) -> None:
    """Refuses what is no sound.

    Raises:
        Refused: If an example has more than one dimension.
    """
    if len(input_shape) != 1:
        raise refuse(f"model={model} needs samples (T,), got {tuple(input_shape)}", fix="data=spoken_digits")


def check_frames(frames: int, *, longest: int, fix: str) -> None:
    """Refuses texts that may not fit into the frames: CTC needs one for every letter, and one more between two alike.

    Args:
        frames: Of every example.
        longest: Most tokens of a text.
        fix: What gives more frames.

    Raises:
        Refused: If a text could not be said in them.
    """
    if frames < 2 * longest:
        raise refuse(f"the longest text has {longest} tokens, for which {frames} frames are too few", fix=fix)
