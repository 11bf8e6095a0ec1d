"""How wrong a particle mesh is, before it is made.

For sites at random places, waves k of the mesh with their aliases k_m and coefficients U(k_m) of the spline, the kernel R of
smooth charges and the influence function G = R U^2 / (sum_m U_m^2)^2, the mean square error of the potential of multipoles l is

    sum_k sum_mm' |G c_m c_m' - delta_mm' R_m b_m^2|^2,    b_m = |k_m|^l,  c_m = U_m b_m,

here relative to the mean square of the potential's waves shorter than 2 pi widths.

Source: V. Ballenegger, J. J. Cerda, C. Holm, J. Chem. Theory Comput. 8, 936 (2012), eqs. 16-20, for this influence function.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cache

import numpy as np

#: Waves along each axis of an octant of the reciprocal cell of the mesh.
WAVES = 8
#: Orders of splines that are offered (each is compiled at its first use), and mesh spacings over widths, coarsest first.
ORDERS = (4, 6, 8, 10, 12)
SPACINGS = tuple(float(x) for x in np.geomspace(1.3, 0.15, 64))
#: Cosines between the reciprocal vectors of a mesh, of b and c, c and a, a and b.
Cosines = tuple[float, float, float]
RIGHT: Cosines = (0.0, 0.0, 0.0)


@cache
def estimated_error(order: int, spacing: float, lmax: int, cosines: Cosines = RIGHT) -> float:
    """Relative error of potentials for a distance of mesh planes in units of the smallest width."""
    axis = (np.arange(-WAVES, WAVES) + 0.5) / (2 * WAVES)
    fraction = np.stack(np.meshgrid(axis, axis, axis[WAVES:], indexing="ij"), -1).reshape(-1, 1, 3)  # k, not its opposite
    aliases = np.stack(np.meshgrid(*[[0, -1, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    m = fraction + aliases
    a, b, c = cosines
    metric = np.array([[1, c, b], [c, 1, a], [b, a, 1]])
    k2 = (2 * np.pi) ** 2 * np.einsum("kma,ab,kmb->km", m, metric, m, optimize=True)
    spline = np.prod(np.sinc(m) ** (2 * order), -1)
    kernel = np.exp(-k2 / spacing**2) / k2
    b2 = k2**lmax
    c2 = spline * b2
    lost = spline[:, 1:].sum(1) / spline[:, 0]
    influence = kernel[:, 0] / spline[:, 0] / (1 + lost) ** 2
    others = c2[:, 1:].sum(1)
    wave = (kernel * b2)[:, 0] * (2 * lost + lost**2) / (1 + lost) ** 2
    mixed = influence**2 * (2 * c2[:, 0] * others + others**2 - (c2[:, 1:] ** 2).sum(1))
    missing = ((influence[:, None] * c2 - kernel * b2)[:, 1:] ** 2).sum(1)
    signal = (kernel * b2)[:, 0] ** 2 * (k2[:, 0] > spacing**2)
    return float(np.sqrt((wave**2 + mixed + missing).sum() / signal.sum()))


@cache
def coarsest_spacing(order: int, lmax: int, accuracy: float, cosines: Cosines = RIGHT) -> float | None:
    """The largest spacing, in units of the smallest width, that reaches a relative accuracy; None if none offered does."""
    place = bisect_left(SPACINGS, -accuracy, key=lambda spacing: -estimated_error(order, spacing, lmax, cosines))
    return SPACINGS[place] if place < len(SPACINGS) else None
