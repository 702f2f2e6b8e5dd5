# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Random numbers of a private run, from the operating system's entropy and out of reach of every global seed.

torch's generator on the CPU takes 32 bits of its seed: who sees a noisy gradient could try them all and take the noise
off. Noise on the CPU therefore comes from a stream cipher with a key of 128 bits, which is also faster.
"""

import hashlib
import math
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from torch import Tensor

KEY = 16
"""Bytes of a key."""
CHUNK = 2**16
"""So many numbers are made at once: what they need then stays in the processor's cache."""
PORTION = 2**24
"""The same of a device of its own."""
FEW = 2**12
"""So few are taken from those made ahead: making them costs more calls than numbers."""
ZEROS = memoryview(bytes(8 * CHUNK))


class Normals(ABC):
    """Normal random numbers."""

    @abstractmethod
    def fill(self, out: Tensor, *, scale: float) -> None:
        """Overwrites a contiguous tensor by independent numbers of mean 0 and standard deviation `scale`."""

    @abstractmethod
    def blur(self, out: Tensor, *, factor: float, scale: float) -> None:
        """Multiplies a contiguous tensor by `factor` and adds such numbers, with little memory beside it."""


def _room(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Where a chunk of numbers is made: the numbers, the radii of their pairs, and the cipher's bytes."""
    return (
        torch.empty(CHUNK, dtype=dtype),
        torch.empty(CHUNK // 2, dtype=dtype),
        torch.empty(CHUNK * dtype.itemsize + KEY, dtype=torch.uint8),
    )


@final
class _Scratch:
    """Memory in which a chunk of numbers is made, with its views: to ask for them anew takes longer than many sums."""

    def __init__(self, dtype: torch.dtype) -> None:
        size = dtype.itemsize
        self.numbers, radius, raw = _room(dtype)
        self.made: Any = self.numbers.numpy()
        self.radius: Any = radius.numpy()
        self.raw = raw.numpy().data
        self.bits = np.frombuffer(self.raw, dtype=f"u{size}", count=CHUNK)
        self.signed = self.bits.view(f"i{size}")
        self.half, self.one, self.unit, self.half_turn = (
            self.made.dtype.type(number) for number in (0.5, 1, 2.0 ** (-8 * size), math.pi * 2.0 ** (-8 * size))
        )


@dataclass(slots=True)
class _Made:
    """Numbers made ahead, with a standard deviation of `scale`; those before `start` are given away."""

    numbers: Tensor
    scale: float
    start: int = 0


@final
class CipherNormals(Normals):
    """From AES in counter mode, by the transform of Box and Muller (1958); for single and double precision on the CPU.

    Args:
        key: 16 bytes, used for no other stream.
        ahead: Whether numbers are made before they are asked for, each given once; for a stream that goes on.
    """

    def __init__(self, key: bytes, *, ahead: bool = False) -> None:
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(KEY))).encryptor()
        self._scratch: dict[torch.dtype, _Scratch] = {}
        self._ahead = ahead
        self._made: dict[torch.dtype, _Made] = {}

    def fill(self, out: Tensor, *, scale: float) -> None:
        """See `Normals`."""
        out = out.view(-1)
        if self._ahead and len(out) <= FEW:
            out.copy_(self._taken(len(out), out.dtype, scale))
            return
        for part in out.split(CHUNK):
            part.copy_(self._chunk(len(part), out.dtype, scale))

    def blur(self, out: Tensor, *, factor: float, scale: float) -> None:
        """See `Normals`."""
        out, size = out.view(-1), out.numel()
        if self._ahead and size <= FEW:
            torch.add(self._taken(size, out.dtype, scale), out, alpha=factor, out=out)
            return
        for part in out.split(CHUNK):
            torch.add(self._chunk(len(part), out.dtype, scale), part, alpha=factor, out=part)

    def _taken(self, count: int, dtype: torch.dtype, scale: float) -> Tensor:
        """The next ones of those made ahead, with a standard deviation of `scale`."""
        made = self._made.get(dtype)
        if made is None or made.start + count > CHUNK or (made.scale != scale and not made.scale):
            made = self._made[dtype] = _Made(self._chunk(CHUNK, dtype, scale).clone(), scale)
        if made.scale != scale:
            made.numbers[made.start :].mul_(scale / made.scale)
            made.scale = scale
        start = made.start
        made.start = start + count
        return made.numbers[start : made.start]

    def _chunk(self, count: int, dtype: torch.dtype, scale: float) -> Tensor:
        """At most a chunk of numbers, which the next call overwrites."""
        scratch = self._scratch.get(dtype)
        if scratch is None:
            scratch = self._scratch[dtype] = _Scratch(dtype)
        pairs = (count + 1) // 2
        self._cipher.update_into(ZEROS[: 2 * pairs * dtype.itemsize], scratch.raw)
        radius, tangent, cosine = scratch.radius[:pairs], scratch.made[pairs : 2 * pairs], scratch.made[:pairs]
        # Half a unit keeps the logarithm finite; unsigned, so that the smallest ones keep all their bits.
        np.copyto(radius, scratch.bits[:pairs], casting="same_kind")
        radius += scratch.half
        radius *= scratch.unit
        # The quickest of the logarithms.
        np.log2(radius, out=radius)
        radius *= radius.dtype.type(-2 * math.log(2) * scale * scale)
        np.sqrt(radius, out=radius)
        # With t the tangent of half the angle, the cosine is 2 / (1 + t^2) - 1 and the sine 2 t / (1 + t^2), which
        # takes less time than both. Next to a quarter turn it is finite, and so is its square.
        np.copyto(tangent, scratch.signed[pairs : 2 * pairs], casting="same_kind")
        tangent *= scratch.half_turn
        np.tan(tangent, out=tangent)
        np.square(tangent, out=cosine)
        cosine += scratch.one
        np.divide(radius, cosine, out=cosine)
        cosine += cosine
        tangent *= cosine
        cosine -= radius
        return scratch.numbers[:count]


@final
class DeviceNormals(Normals):
    """From the generator of the device itself.

    Args:
        generator: Of the device.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def fill(self, out: Tensor, *, scale: float) -> None:
        """See `Normals`."""
        out.normal_(mean=0.0, std=scale, generator=self._generator)

    def blur(self, out: Tensor, *, factor: float, scale: float) -> None:
        """See `Normals`."""
        noise = torch.empty(min(out.numel(), PORTION), dtype=out.dtype, device=out.device)
        for part in out.view(-1).split(PORTION):
            self.fill(noise[: len(part)], scale=scale)
            torch.add(noise[: len(part)], part, alpha=factor, out=part)


@final
class RehearsedNormals(Normals):
    """Takes the memory that `CipherNormals` takes for a stream that goes on, where tensors hold no numbers."""

    def __init__(self) -> None:
        self._rooms: dict[torch.dtype, tuple[Tensor, ...]] = {}
        self._made: dict[torch.dtype, Tensor] = {}

    def fill(self, out: Tensor, *, scale: float) -> None:
        """See `Normals`; each number is counted as torch's own is."""
        self._take(out)
        out.normal_(std=scale)

    def blur(self, out: Tensor, *, factor: float, scale: float) -> None:
        """See `Normals`."""
        numbers = self._take(out)
        for part in out.view(-1).split(CHUNK):
            torch.add(numbers[: len(part)].normal_(std=scale), part, alpha=factor, out=part)

    def _take(self, out: Tensor) -> Tensor:
        dtype = out.dtype
        if dtype not in self._rooms:
            self._rooms[dtype] = _room(dtype)
        if out.numel() <= FEW and dtype not in self._made:
            self._made[dtype] = torch.empty(CHUNK, dtype=dtype)
        return self._rooms[dtype][0]


@final
class Randomness:
    """Streams of its own for each purpose.

    Args:
        seed: None for fresh entropy of the operating system; a number makes every step's draws a function of (seed,
            purpose, step), which also holds after a resume: noise that is used twice can be subtracted.
        simulated: True where no tensor holds numbers, so that only torch's own operations work.
    """

    def __init__(self, seed: int | None, *, simulated: bool = False) -> None:
        self._seed = seed
        self._simulated = simulated
        self._draws: np.random.Generator | None = None
        self._noise: dict[torch.device, Normals] = {}
        self._secret: bytes | None = None

    def agree(self, secret: bytes) -> None:
        """Draws as everybody does who has the same secret; a seed that was given stays. Before the first draw."""
        self._secret = secret

    @property
    def repeats(self) -> bool:
        """Whether the draws of a step follow from its number."""
        return self._seed is not None

    def draws(self, *, step: int) -> np.random.Generator:
        """For the sampling of one step."""
        if self._seed is not None:
            return _generator(self._key("sampling", step))
        if self._draws is None:
            self._draws = _generator(self._fresh("sampling"))
        return self._draws

    def noise(self, *, step: int, device: torch.device) -> Normals:
        """For the noise of one step."""
        if self._seed is not None and not self._simulated:
            return self._normals(self._key("noise", step), device)
        if device not in self._noise:
            self._noise[device] = self._normals(self._fresh("noise"), device)
        return self._noise[device]

    def _fresh(self, purpose: str) -> bytes:
        if self._secret is None:
            return os.urandom(KEY)
        return hashlib.sha256(self._secret + purpose.encode()).digest()[:KEY]

    def _key(self, purpose: str, step: int) -> bytes:
        return hashlib.sha256(f"{self._seed}:{purpose}:{step}".encode()).digest()[:KEY]

    def _normals(self, key: bytes, device: torch.device) -> Normals:
        if device.type == "cpu":
            return RehearsedNormals() if self._simulated else CipherNormals(key, ahead=self._seed is None)
        seed = int.from_bytes(key[:8], "big") >> 1
        return DeviceNormals(torch.Generator(device=device).manual_seed(seed))


def _generator(key: bytes) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "big")))
