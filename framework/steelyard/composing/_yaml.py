"""The text that OmegaConf writes of a config, by the compiled writer of PyYAML where both write the same.

The two differ where a text has tabs, line ends or characters beyond ASCII; a config with such a text is written by
OmegaConf itself.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# A config is a tree of anything.

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from omegaconf import OmegaConf

# Private in OmegaConf 2.3.1: how it decides which texts need quotes.
from omegaconf._utils import get_omega_conf_dumper

MOST = 256
"""Texts that are kept; the one that was used longest ago goes first."""


def to_yaml(config: Any) -> str:
    """As `OmegaConf.to_yaml`.

    Args:
        config: Of OmegaConf's, or plain; its keys are texts.
    """
    plain = OmegaConf.to_container(config, enum_to_str=True) if OmegaConf.is_config(config) else config
    if not isinstance(plain, Mapping) or not plain:
        return _text(plain)
    first, inner = next(iter(plain.items()))
    head = head_of(first)
    if len(plain) > 1 or not isinstance(inner, Mapping) or not inner or head.count("\n") > 1:
        return "".join(_text({key: value}) for key, value in plain.items())
    return head + "".join(part_below(first, key, value) for key, value in inner.items())


def head_of(key: Any) -> str:
    """The line above what lies below a key."""
    return _text({key: None}).removesuffix(" null\n") + "\n"


def part_below(first: Any, key: Any, value: Any) -> str:
    """What `to_yaml` writes of `first.key`, without the head."""
    # Under its own key, so that lines break where they do in the whole.
    return _text({first: {key: value}}).removeprefix(head_of(first))


def values_below(first: Any, second: Any, values: Mapping[Any, Any]) -> dict[Any, str]:
    """What `to_yaml` writes of each of `first.second`, without the heads; made anew."""
    heads = head_of(first) + part_below(first, second, None).removesuffix(" null\n") + "\n"
    return {key: _written({first: {second: {key: value}}}).removeprefix(heads) for key, value in values.items()}


def _text(plain: Any) -> str:
    """The text of a part; what a sweep writes in every job, such as the help of Hydra, is made once."""
    key = repr(plain)
    text = _made.pop(key, None)
    if text is None:
        text = _written(plain)
    _made[key] = text
    if len(_made) > MOST:
        del _made[next(iter(_made))]
    return text


def _written(plain: Any) -> str:
    if _Dumper is not None and all(map(_is_simple, _leaves(plain))):
        return yaml.dump(plain, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=_Dumper)
    return OmegaConf.to_yaml(OmegaConf.create(plain) if isinstance(plain, dict | list) else plain)


def _leaves(node: Any) -> Iterator[Any]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            # They write an empty key each in its own way.
            yield key if key != "" else b""
            yield from _leaves(value)
    elif isinstance(node, list):
        for value in node:
            yield from _leaves(value)
    else:
        yield node


def _is_simple(leaf: Any) -> bool:
    """True of what both writers write alike."""
    if type(leaf) is str:
        return leaf.isascii() and leaf.isprintable()
    return leaf is None or type(leaf) in (bool, int, float)


def _dumper() -> Any:
    if not yaml.__with_libyaml__:
        return None

    class Dumper(yaml.CDumper):
        pass

    Dumper.add_representer(str, get_omega_conf_dumper().yaml_representers[str])
    return Dumper


_Dumper: Any = _dumper()
_made: dict[str, str] = {}
