"""The basis of the coarse density: Gaussian multipoles on every atom."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from torch import nn

from cgdft.parameter import AtomParameter, ParameterLike

if TYPE_CHECKING:
    from cgdft.structure import Structure


class Multipoles(nn.Module):
    """g_lm(r) = C_l r^l exp(-r^2 / 2 sigma^2) Y_lm(r), l = 0 .. lmax, of unit moment by sqrt(4 pi / (2 l + 1)) r^l Y_lm.

    It describes coefficients and holds none. An atom has (lmax + 1)^2 of them, in e3nn's order: charge; dipole (x, y, z);
    quadrupole (sqrt3 xz, sqrt3 xy, y^2 - (x^2 + z^2)/2, sqrt3 yz, sqrt3/2 (z^2 - x^2)).

    Args:
        lmax: 0, 1 or 2.
        width: sigma, bohr: a number, per element, per atom, or a module; > 0.

    Raises:
        ValueError: `lmax` or a width out of range.
    """

    def __init__(self, lmax: int = 0, *, width: ParameterLike) -> None:
        super().__init__()
        if lmax not in (0, 1, 2):
            raise ValueError(f"`lmax` must be 0, 1 or 2, got {lmax!r}")
        self.lmax = lmax
        self.width = AtomParameter(width, "width", positive=True)

    @property
    def size(self) -> int:
        """Coefficients per atom, (lmax + 1)^2."""
        return (self.lmax + 1) ** 2

    def prepare(self, structure: Structure) -> Multipoles:
        """The same basis with its widths on this structure kept."""
        fixed = copy.copy(self)
        fixed._modules = {"width": self.width.at(structure)}
        return fixed
