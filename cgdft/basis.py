"""The basis of the coarse density: Gaussian multipoles on every atom."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor, nn

from cgdft.parameter import AtomParameter, ParameterLike

if TYPE_CHECKING:
    from cgdft.structure import Structure


class Multipoles(nn.Module):
    """g_lm(r) = C_l r^l exp(-r^2 / 2 sigma^2) Y_lm(r), l = 0 .. lmax, of unit moment by sqrt(4 pi / (2 l + 1)) r^l Y_lm.

    It describes coefficients and holds none. An atom has (lmax + 1)^2 of them, in e3nn's order: charge; dipole (x, y, z);
    quadrupole (sqrt3 xz, sqrt3 xy, y^2 - (x^2 + z^2)/2, sqrt3 yz, sqrt3/2 (z^2 - x^2)).
    With spin as many follow for the magnetisation, up less down electrons, in the same order.

    Args:
        lmax: 0, 1 or 2.
        width: sigma, bohr: a number, per element, per atom, or a module; > 0.
        spin: whether the density is spin-resolved.

    Raises:
        ValueError: `lmax` or a width out of range.
    """

    def __init__(self, lmax: int = 0, *, width: ParameterLike, spin: bool = False) -> None:
        super().__init__()
        if lmax not in (0, 1, 2):
            raise ValueError(f"`lmax` must be 0, 1 or 2, got {lmax!r}")
        self.lmax, self.spin = lmax, spin
        self.width = AtomParameter(width, "width", positive=True)

    @property
    def shells(self) -> int:
        """Coefficients per atom of the charge density, (lmax + 1)^2."""
        return (self.lmax + 1) ** 2

    @property
    def size(self) -> int:
        """Coefficients per atom, with those of the magnetisation where the density is spin-resolved."""
        return (1 + self.spin) * self.shells

    def padded(self, p: Float[Tensor, "n_atoms shells"]) -> Float[Tensor, "n_atoms size"]:
        """What belongs to the charge density, with zeros for the magnetisation."""
        return nn.functional.pad(p, (0, self.size - p.shape[1]))

    def prepare(self, structure: Structure) -> Multipoles:
        """The same basis with its widths on this structure kept."""
        fixed = copy.copy(self)
        fixed._modules = {"width": self.width.at(structure)}
        return fixed
