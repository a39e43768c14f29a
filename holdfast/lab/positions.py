"""Heads that begin by looking a fixed number of places back.

To find who has the apple, a layer must first move each word's neighbours to it. Heads that look by distance alone do
that, and under rotary positions random weights take thousands of steps to find them. Constant queries and keys (the
attention's biases) whose rotated product is largest at one distance are such heads from the start; all of it is trained on.
"""

from typing import Any

import torch

DISTANCES = ((1, 2, 3, 4), (1, 2))  # by layer, one a head; the other heads begin at random
STRENGTH = 5.0  # puts nine tenths of the attention on the one place
FAST = 0.05  # radians a place: slower rotations do not tell neighbours apart
CONTENT = 0.3  # what is left of the random weights of these heads' queries and keys


@torch.no_grad()
def look_back(model: Any) -> None:
    """Set the first heads of a Llama with attention biases to look `DISTANCES` back."""
    for layer, distances in zip(model.model.layers, DISTANCES, strict=False):
        attention = layer.self_attn
        size = attention.head_dim
        rates = model.model.rotary_emb.inv_freq  # radians a place, of each pair (i, i + size / 2)
        strength = STRENGTH * (rates > FAST)
        for head, distance in enumerate(distances[: model.config.num_attention_heads]):
            mine = slice(head * size, (head + 1) * size)
            attention.k_proj.bias[mine] = torch.cat([strength, torch.zeros_like(strength)])
            turned = (strength * (rates * distance).cos(), -strength * (rates * distance).sin())
            attention.q_proj.bias[mine] = torch.cat(turned)
            for projection in (attention.q_proj, attention.k_proj):
                projection.weight[mine] *= CONTENT
