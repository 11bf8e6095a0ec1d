"""Values that are exact for so many derivatives, and refuse more.

Nothing in a graph says how often it has been differentiated. Here each derivative of a value brings a zero that depends on all
that the value may be differentiated by, so that the next derivative meets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def counted(value: Tensor, allowed: int, by: Sequence[Tensor]) -> Tensor:
    """The value, with derivatives by some tensors up to an order.

    Raises:
        RuntimeError: where a higher derivative is taken.
    """
    found: Tensor = _Counted.apply(value, allowed, 0, *by)  # type: ignore[no-untyped-call]
    return found


class _Counted(torch.autograd.Function):
    """The value itself; its derivatives by the tensors are zero, and count."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, allowed: int, done: int, *by: Tensor) -> Tensor:
        ctx.allowed, ctx.done, ctx.by = allowed, done, by
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.done == ctx.allowed:
            raise RuntimeError(
                f"derivative {ctx.allowed + 1} of what a solution gives would not be exact, those before it are: begin with "
                "the method that has taken some already, or take a finite difference"
            )
        if not torch.is_grad_enabled():
            return (grad, None, None, *(None for _ in ctx.by))
        token = _Counted.apply(grad.new_zeros(()), ctx.allowed, ctx.done + 1, *ctx.by)  # type: ignore[no-untyped-call]
        return (grad, None, None, *(token.to(one.dtype).expand_as(one) for one in ctx.by))
