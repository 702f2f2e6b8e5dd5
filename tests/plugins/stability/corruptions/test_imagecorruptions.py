"""Against the library imagecorruptions-imaug, which rounds down to whole bytes."""

import numpy as np
import pytest
import torch
from torch import Tensor

from steelyard_stability.corruptions import _blurs, _digital, _noises, _weather
from steelyard_stability.corruptions._dice import Dice
from steelyard_stability.corruptions.kinds import IMAGE

pytestmark = pytest.mark.slow
KINDS = {kind: vars(one)[kind] for one in (_noises, _blurs, _weather, _digital) for kind in IMAGE if kind in vars(one)}
EXACT = ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")
OTHER_LAW = {
    "glass_blur": "the library copies pixels over each other where the paper swaps them",
    "frost": "the library lays photographs over the picture",
}
DRAWN = [kind for kind in IMAGE if kind not in EXACT and kind not in OTHER_LAW]


@pytest.fixture(scope="module")
def picture() -> Tensor:
    coarse = torch.rand(1, 3, 30, 30, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, size=(224, 224), mode="bicubic").clamp(0, 1)
    return (smooth * 255).round() / 255


def both(kind: str, picture: Tensor, severity: int, *, draws: int = 1) -> tuple[Tensor, Tensor]:
    library = pytest.importorskip("imagecorruptions", reason="pip install imagecorruptions-imaug")
    dice = Dice(0, kind=kind, severity=severity, numbers=range(draws))
    ours = KINDS[kind](picture.expand(draws, -1, -1, -1), severity, dice).clamp(0, 1)
    array = (picture[0].permute(1, 2, 0) * 255).round().byte().numpy()
    np.random.seed(0)
    theirs = [np.asarray(library.corrupt(array, corruption_name=kind, severity=severity)) for _ in range(draws)]
    return ours, torch.from_numpy(np.stack(theirs)).permute(0, 3, 1, 2).double() / 255


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", EXACT)
def test_without_chance_they_agree(kind: str, severity: int, picture: Tensor) -> None:
    ours, theirs = both(kind, picture, severity)
    if kind == "defocus_blur":
        # The library's disc of radius 8 is cut at the edge of its grid, so that it sums to more than 1.
        flat, brighter = both(kind, torch.full((1, 3, 224, 224), 128 / 255), severity)
        theirs = theirs * float(flat.mean() / (brighter.mean()))

    assert float((ours - theirs).abs().mean()) <= 1 / 255


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("kind", DRAWN)
def test_with_chance_mean_and_deviation_agree(kind: str, severity: int, picture: Tensor) -> None:
    ours, theirs = both(kind, picture, severity, draws=16 if kind != "fog" else 200)

    # Half a byte is what rounding down costs.
    assert float(ours.mean()) == pytest.approx(float(theirs.mean()) + 0.5 / 255, rel=0.02)
    assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=0.02 if kind != "fog" else 0.05)
