# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateImportUsage=false
"""The only place of the text models that touches `transformers` and `peft`."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from steelyard.extras import require
from steelyard.models._pretrained import pretrained
from steelyard.problem import refuse

LENGTHS = ("max_position_embeddings", "n_positions")
"""How configs call the longest text that their model takes."""


def built(family: str, config: Mapping[str, Any], *, of: str) -> Any:
    """A model with random weights.

    Args:
        family: The prefix of its config, e.g. "Bert".
        config: What the config takes.
        of: Which automatic class makes it: AutoModel, AutoModelForCausalLM and so on.

    Raises:
        Refused: If the library is missing, or the config does not fit together.
    """
    require("transformers", extra="text")
    import transformers

    try:
        made = getattr(transformers, f"{family}Config")(**config)
        return getattr(transformers, of).from_config(made, attn_implementation="eager")
    # What the library's own checks raise is not always a ValueError.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[-1].strip()
        raise refuse(f"the model cannot be made: {reason}", fix="model.heads=4 model.width=128") from error


def loaded(place: str, *, of: str, vocabulary: int, longest: int, **config: Any) -> Any:
    """A model with the weights of a folder, a package or the hub: safetensors only, and none of their code is run.

    On the meta device the weights are not read.

    Args:
        place: A folder, `package://NAME/FOLDER`, or a name of the hub.
        of: Which automatic class loads it.
        vocabulary: Tokens that the data's tokeniser knows.
        longest: Most tokens of a text.
        config: Changes of the stored config.

    Raises:
        Refused: If it cannot be loaded safely, or does not fit the data.
    """
    # What BERT pools is never used, and not every checkpoint has it.
    model = pretrained(place, of=of, extra="text", fresh=("pooler.",), **config)
    _check(model.config, place, vocabulary=vocabulary, longest=longest)
    return model


def adapt(model: nn.Module, *, rank: int, alpha: float) -> None:
    """Freezes the model and adds trainable matrices of low rank to all its linear layers (LoRA; Hu et al. 2021).

    Raises:
        Refused: If peft is missing, or there is nothing to add to.
    """
    require("peft", extra="text")
    from peft import LoraConfig, inject_adapter_in_model
    from transformers.pytorch_utils import Conv1D

    head = getattr(model, "get_output_embeddings", lambda: None)()
    layers = {
        name: isinstance(module, Conv1D)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }
    if not layers:
        raise refuse("model.lora_rank is set, but the model has no linear layer", fix="model.lora_rank=0")
    # The library takes any number for the scale; its annotation says int.
    settings: Any = LoraConfig
    inject_adapter_in_model(
        settings(r=rank, lora_alpha=alpha, target_modules=[*layers], fan_in_fan_out=all(layers.values())), model
    )


def _check(config: Any, place: str, *, vocabulary: int, longest: int) -> None:
    if config.vocab_size < vocabulary:
        raise refuse(
            f"the tokeniser has {vocabulary} tokens, model.pretrained={place} has {config.vocab_size}",
            fix=f"data.tokenizer={place}",
        )
    limits = [getattr(config, name) for name in LENGTHS if isinstance(getattr(config, name, None), int)]
    if limits and longest > limits[0]:
        raise refuse(
            f"texts have up to {longest} tokens, model.pretrained={place} takes {limits[0]}",
            fix=f"data.max_length={limits[0]}",
        )
