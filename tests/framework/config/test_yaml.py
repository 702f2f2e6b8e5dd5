import random
from typing import Any

from omegaconf import OmegaConf

from steelyard.composing import to_yaml

ODD = [
    "yes",
    "1e3",
    "1_000",
    "0x1f",
    "null",
    "~",
    "",
    "True",
    "1:30",
    "-",
    "${a}",
    "???",
    ".inf",
    "2020-01-01",
    "=",
    "<<",
]
SIGNS = [*map(chr, range(32, 127)), *" :#-?'\"%@`{}[]&*!|>=~,\\" * 3, "\n", "\t", "é", "😀", "\u2028", "\x07"]


def text(draw: random.Random) -> str:
    if draw.random() < 0.3:
        return draw.choice(ODD)
    return "".join(draw.choice(SIGNS) for _ in range(draw.choice([1, 2, 3, 5, 10, 40, 79, 90, 150])))


def tree(draw: random.Random, depth: int = 0) -> Any:
    chance = draw.random() if depth else 0.5 + draw.random() / 2
    if depth > 3 or chance < 0.4:
        return draw.choice([text(draw), text(draw), 1, 2.5, True, None, float("inf"), 1e-7, -3])
    if chance < 0.8:
        return {
            text(draw) if draw.random() < 0.1 else f"k{number}": tree(draw, depth + 1)
            for number in range(draw.randrange(1, 4))
        }
    return [tree(draw, depth + 1) for _ in range(draw.randrange(4))]


def test_it_is_what_omegaconf_writes() -> None:
    """The quick writer is held against OmegaConf's own: the versions that it was seen on are pinned."""
    draw, seen = random.Random(0), 0
    while seen < 40:
        plain = tree(draw)
        try:
            config = OmegaConf.create(plain)
            expected = OmegaConf.to_yaml(config)
        except Exception:  # a random text may be half an interpolation
            continue
        seen += 1
        assert to_yaml(config) == expected


def test_a_key_alone_and_nothing_at_all() -> None:
    for plain in ({}, [], {"a": {}}, {"a": {"b": "x\n", "c": {"d": [1]}}}, {"a\nb": {"c": 1}}, {"yes": {"c": "on"}}):
        assert to_yaml(OmegaConf.create(plain)) == OmegaConf.to_yaml(OmegaConf.create(plain))
