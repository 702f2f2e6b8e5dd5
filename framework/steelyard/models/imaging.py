"""What a model of images asks of its inputs."""

from collections.abc import Sequence

from steelyard.problem import refuse


def check_images(model: str, input_shape: Sequence[int], *, smallest: int = 1) -> None:
    """Looks whether inputs are images of some size.

    Args:
        model: Option of the group `model`.
        input_shape: Of one example.
        smallest: Least height and width, in pixels.

    Raises:
        Refused: If they are not (channels, height, width), or smaller.
    """
    if len(input_shape) != 3 or min(input_shape[1:]) < smallest:
        size = f" of {smallest} pixels at least" if smallest > 1 else ""
        raise refuse(
            f"model={model} needs images (channels, height, width){size}, got {tuple(input_shape)}", fix="model=mlp"
        )
