# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateImportUsage=false
"""The only place of the speech models that touches `transformers`."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from steelyard.extras import require
from steelyard.models._pretrained import pretrained as stored
from steelyard.problem import refuse

SPOKEN = ("speecht5.encoder.prenet.", "speecht5.decoder.prenet.")
"""What of a speaking model stands for letters, voices and frames: those of the data are others."""


def made(of: str, config: str, **options: Any) -> Any:
    """A model of transformers with random weights.

    Args:
        of: Which automatic class makes it: AutoModelForCTC or AutoModelForSpeechSeq2Seq.
        config: The class of its config.
        options: What the config takes.

    Raises:
        Refused: If the library is missing, or the config does not fit together.
    """
    require("transformers", extra="speech")
    import transformers

    try:
        made_config = getattr(transformers, config)(**options)
        # Attention that explanations and per-example gradients can look into.
        return getattr(transformers, of).from_config(made_config, attn_implementation="eager")
    except ValueError as error:
        raise refuse(f"the model cannot be made: {error}", fix="model.width=96 model.heads=4") from error


def writing(config: Any) -> Any:
    """How a model with this config writes when it is told nothing else."""
    import transformers

    return transformers.GenerationConfig.from_model_config(config)


@contextmanager
def silent() -> Generator[None]:
    """Quiet while texts are written: the library warns of its own defaults."""
    import transformers

    logging: Any = transformers.utils.logging
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def speaking(*, pretrained: str | None, **options: Any) -> Any:
    """A `SpeechT5ForTextToSpeech` in which no example of a batch knows of another.

    Batch norm becomes group norm. What is never used goes, and places that all examples share are not learnt: both
    have no gradient of one example.

    Args:
        pretrained: Where stored weights are, or None for random ones.
        options: What its config takes, beside or in place of what is stored.

    Raises:
        Refused: If the library is missing, the config does not fit together, or the weights cannot be loaded safely.
    """
    require("transformers", extra="speech")
    import transformers
    from torch import nn

    if pretrained is not None:
        network: Any = stored(pretrained, of="AutoModelForTextToSpectrogram", extra="speech", fresh=SPOKEN, **options)
        if network.config.model_type != "speecht5":
            raise refuse(
                f"model.pretrained={pretrained} is a {network.config.model_type}, model=speecht5 needs a speecht5",
                fix="model.pretrained=FOLDER",
            )
    else:
        config: Any = transformers.SpeechT5Config
        try:
            network = transformers.SpeechT5ForTextToSpeech(config(**options, attn_implementation="eager"))
        except ValueError as error:
            raise refuse(f"the model cannot be made: {error}", fix="model.width=96 model.heads=4") from error
    for layer in network.speech_decoder_postnet.layers:
        norm = layer.batch_norm
        layer.batch_norm = nn.GroupNorm(1, norm.num_features)
        with torch.no_grad():
            layer.batch_norm.weight.copy_(norm.weight)
            layer.batch_norm.bias.copy_(norm.bias)
    network.speech_decoder_postnet.prob_out = nn.Identity()
    encoder = network.speecht5.encoder
    encoder.wrapped_encoder.embed_positions.requires_grad_(False)
    encoder.prenet.encode_positions.alpha.requires_grad_(False)
    return network.train()
