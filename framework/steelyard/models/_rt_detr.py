# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The way of a picture through the layers of transformers' RT-DETR.

Its own forward pass cuts the gradient between the layers of its decoder, in evaluation as well: what explains the model
by gradients would silently miss all that flows through queries and places. Here it is cut in training alone, as in the
paper. Its denoising queries, whose number depends on the other pictures of the batch, are left out.
"""

from typing import Any

import torch
from torch import Tensor

SMALLEST = 0.05
"""Width and height of an anchor of the first level, in parts of the picture."""
EDGE = 0.01
"""Anchors nearer to the edge are not used."""


def stages(network: Any, pictures: Tensor, *, cut: bool) -> Tensor:
    """What the proposals and each layer of the decoder say: (stages, B, queries, classes + 4), the last one counts.

    Args:
        network: A `RTDetrForObjectDetection`.
        pictures: (B, channels, height, width), normalised.
        cut: Whether the gradient ends at the queries and places that one stage hands to the next.
    """
    core = network.model
    maps = _maps(core, pictures)
    memory = torch.cat([level.flatten(start_dim=2).transpose(1, 2) for level in maps], dim=1)
    sizes = [(level.shape[2], level.shape[3]) for level in maps]
    anchors, valid = _anchors(sizes, like=memory)
    states = core.enc_output(valid * memory)
    logits, places = core.enc_score_head(states), core.enc_bbox_head(states) + anchors
    count = min(network.config.num_queries, memory.shape[1])
    best = logits.amax(dim=-1).topk(count, dim=1).indices[..., None]
    logits, places, states = (part.gather(1, best.expand(-1, -1, part.shape[-1])) for part in (logits, places, states))
    boxes = places.sigmoid()
    said = [torch.cat([logits, boxes], dim=-1)]
    shapes = torch.tensor(sizes, device=memory.device)
    if cut:
        states, boxes = states.detach(), boxes.detach()
    decoder = core.decoder
    for layer, head, corrector in zip(decoder.layers, decoder.class_embed, decoder.bbox_embed, strict=True):
        states = layer(
            states,
            object_queries_position_embeddings=decoder.query_pos_head(boxes),
            reference_points=boxes[:, :, None],
            spatial_shapes=shapes,
            spatial_shapes_list=sizes,
            encoder_hidden_states=memory,
        )
        boxes = (corrector(states) + _inverse_sigmoid(boxes)).sigmoid()
        said.append(torch.cat([head(states), boxes], dim=-1))
        if cut:
            boxes = boxes.detach()
    return torch.stack(said)


def _maps(core: Any, pictures: Tensor) -> list[Tensor]:
    """The maps of features of the levels, finest first."""
    features = core.backbone.model(pictures).feature_maps
    projected = [project(level) for project, level in zip(core.encoder_input_proj, features, strict=True)]
    if pictures.is_meta:
        # In training its layers ask whether their numbers are finite, and a plan has no numbers.
        core.encoder.eval()
    mixed = core.encoder(projected).last_hidden_state
    # Coarser levels than the backbone's are made from its coarsest one.
    missing = len(core.decoder_input_proj) - len(mixed)
    return [
        project(level) for project, level in zip(core.decoder_input_proj, [*mixed, *mixed[-1:] * missing], strict=True)
    ]


def _anchors(sizes: list[tuple[int, int]], *, like: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of a box round each place (1, places, 4), and 1 where it may be used (1, places, 1)."""
    boxes: list[Tensor] = []
    for level, (height, width) in enumerate(sizes):
        y, x = torch.meshgrid(
            (torch.arange(height, device=like.device) + 0.5) / height,
            (torch.arange(width, device=like.device) + 0.5) / width,
            indexing="ij",
        )
        side = torch.full_like(x, SMALLEST * 2**level)
        boxes.append(torch.stack([x, y, side, side], dim=-1).flatten(end_dim=1))
    anchors = torch.cat(boxes)[None].to(like)
    valid = ((anchors > EDGE) & (anchors < 1 - EDGE)).all(dim=-1, keepdim=True)
    logits = torch.where(valid, anchors.logit(), torch.finfo(like.dtype).max)
    return logits, valid.to(like.dtype)


def _inverse_sigmoid(boxes: Tensor) -> Tensor:
    return boxes.clamp(min=1e-5).log() - (1 - boxes).clamp(min=1e-5).log()
