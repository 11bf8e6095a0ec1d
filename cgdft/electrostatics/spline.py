"""Cardinal B-splines: the shape in which a particle mesh sees a point.

    M_1(u) = 1 on [0, 1),    M_n(u) = [u M_(n-1)(u) + (n - u) M_(n-1)(u - 1)] / (n - 1),

positive on (0, n), n - 2 times continuously differentiable, sum_m M_n(u - m) = 1. A site at u (mesh units) touches the n
points floor(u) - n + 1 ... floor(u); on each of them M_n is one polynomial of t = u - floor(u) - 1/2.

Source: U. Essmann et al., J. Chem. Phys. 103, 8577 (1995), eqs. 3.3-3.4.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor

#: How often each derivative is taken along each axis; the first COUNT[d] are those up to order d.
POWERS = np.array([(a, b, d - a - b) for d in range(4) for a in range(d, -1, -1) for b in range(d - a, -1, -1)])
COUNT = (1, 4, 10, 20)


@cache
def table(order: int, derivatives: int) -> NDArray[np.float64]:
    """Coefficients of d^d/du^d M_n at the n points a site touches, (derivatives + 1, n, n).

    The second axis is the power of t, highest first and zeros before it, the last the point, in ascending order; exact to
    rounding.
    """
    coefficients = np.zeros((derivatives + 1, order, order))
    for i, piece in enumerate(_pieces(order)):
        for d in range(derivatives + 1):
            coefficients[d, d:, order - 1 - i] = [float(c) for c in reversed(piece)]
            piece = [k * c for k, c in enumerate(piece)][1:]
    return coefficients


def splines(x: Float[Tensor, "*sites"], order: int, derivatives: int) -> list[Float[Tensor, "*sites order"]]:
    """M_n and its derivatives at u = floor(u) + x, one tensor for each, at the n points of `table`; differentiable."""
    rows = torch.from_numpy(table(order, derivatives)).to(x)
    powers = torch.stack([(x - 0.5) ** k for k in reversed(range(order))], -1)
    return [powers @ row for row in rows]


@cache
def deconvolution(points: int, order: int) -> NDArray[np.float64]:
    """U^2 / (sum_m U(k_m)^2)^2 along one axis, with U = sinc^order and k_m the aliases of k."""
    x = fft.fftfreq(points)
    alias = np.stack([np.sinc(x + a) ** (2 * order) for a in range(-3, 4)])
    return alias[3] / alias.sum(0) ** 2


def _pieces(order: int) -> list[list[Fraction]]:
    """M_n on each [i, i + 1] in powers of u - i - 1/2, lowest first, i = 0 .. n - 1."""
    pieces = [[Fraction(1)]]
    for n in range(2, order + 1):
        longer = []
        for i in range(n):
            centre, piece = Fraction(2 * i + 1, 2), [Fraction(0)] * n
            neighbours = [(i, centre, 1), (i - 1, n - centre, -1)]
            for which, constant, slope in neighbours:
                for power, c in enumerate(pieces[which] if 0 <= which < n - 1 else []):
                    piece[power] += constant * c / (n - 1)
                    piece[power + 1] += slope * c / (n - 1)
            longer.append(piece)
        pieces = longer
    return pieces
