"""Sounds as files."""

import io
import wave

from torch import Tensor


def wav(samples: Tensor, *, rate: int) -> bytes:
    """Samples (T,) in [-1, 1], at so many a second, as a WAV file of 16 bits."""
    packed = io.BytesIO()
    with wave.open(packed, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples.float().clamp(-1, 1) * 32767).round().short().numpy().astype("<i2").tobytes())
    return packed.getvalue()
