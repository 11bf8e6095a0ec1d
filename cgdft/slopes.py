"""Derivatives by autograd that are zero where nothing depends."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def slopes(
    value: Tensor, by: Sequence[Tensor], weight: Tensor | None = None, *, graph: bool = False, keep: bool = False
) -> list[Tensor]:
    """d(weight . value) / d(by), of each `by` in its shape; without a weight of the sum of the values.

    Args:
        graph: whether they can be differentiated again.
        keep: whether the value can.
    """
    if not value.requires_grad:
        return [torch.zeros_like(one) for one in by]
    weight = torch.ones_like(value) if weight is None else weight
    keep = keep or graph
    return list(
        torch.autograd.grad(value, by, weight, create_graph=graph, retain_graph=keep, allow_unused=True, materialize_grads=True)
    )


def askew(like: Tensor) -> Tensor:
    """Numbers up to one of either sign, of the shape of a tensor, along which no symmetry hides anything."""
    return torch.cos(torch.arange(like.numel(), dtype=like.dtype, device=like.device)).reshape(like.shape)


def slope(value: Tensor, by: Tensor, weight: Tensor | None = None, *, graph: bool = False, keep: bool = False) -> Tensor:
    """The same by one."""
    return slopes(value, [by], weight, graph=graph, keep=keep)[0]
