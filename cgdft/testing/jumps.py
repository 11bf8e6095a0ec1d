"""Whether a function jumps along a line."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from cgdft.slopes import slope


def largest_jump(along: Callable[[Tensor], Tensor], reach: float = 0.15, points: int = 13, enough: float = 0.0) -> float:
    """What of a function's change its derivative does not explain, where most is unexplained, in ever smaller steps.

    Args:
        along: t -> f(t), ().
        reach: t is from -reach to reach.
        points: of the first steps, which are then halved, 12 times at most.
        enough: a jump that is no longer looked into.
    """

    def at(t: float) -> tuple[float, float, float]:
        x = torch.tensor(t, dtype=torch.float64, requires_grad=True)
        value = along(x)
        return t, float(value.detach()), float(slope(value, x))

    def unexplained(one: tuple[float, float, float], two: tuple[float, float, float]) -> float:
        return two[1] - one[1] - 0.5 * (two[0] - one[0]) * (one[2] + two[2])

    line = [at(-reach + 2 * reach * k / (points - 1)) for k in range(points)]
    one, two = max(pairwise(line), key=lambda pair: abs(unexplained(*pair)))
    for _ in range(12):
        if abs(unexplained(one, two)) <= enough:
            break
        middle = at(0.5 * (one[0] + two[0]))
        one, two = max(((one, middle), (middle, two)), key=lambda pair: abs(unexplained(*pair)))
    return unexplained(one, two)
