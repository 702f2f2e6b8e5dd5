"""The guess at a modality that a refusal pastes."""

from typing import Any

import pytest
import torch

from steelyard.adapters import likely_modality


@pytest.mark.parametrize(
    ("batch", "modality"),
    [
        ([torch.zeros(4, 7), torch.zeros(4, dtype=torch.long)], "table"),
        ((torch.zeros(4, 1001), torch.zeros(4)), "audio"),
        ({"sound": torch.zeros(4, 1, 800)}, "audio"),
        ([torch.zeros(4, 3, 8, 8), torch.zeros(4)], "image"),
        ([torch.zeros(4, 5, 3, 8, 8), torch.zeros(4)], "video"),
        ({"name": ["a", "b"], "input_ids": torch.zeros(4, 9, dtype=torch.long)}, "text"),
        (torch.zeros(4, 7), "table"),
        ([torch.zeros(4), torch.zeros(4, 7)], None),
        (["a", "b"], None),
        ([], None),
    ],
)
def test_the_first_tensor_says_it(batch: Any, modality: str | None) -> None:
    assert likely_modality(batch) == modality
