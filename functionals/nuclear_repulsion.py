"""What keeps nuclei apart when they are nearer than atoms in any molecule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from ase.data import chemical_symbols, covalent_radii
from torch import Tensor

from cgdft.electrostatics.pairs import fading, near_pairs
from cgdft.parameter import AtomParameter, ParameterLike
from cgdft.terms import DensityIndependent
from cgdft.units import angstrom

if TYPE_CHECKING:
    from cgdft.structure import Structure

#: phi(x) = sum_k c_k exp(-d_k x): Ziegler, Biersack, Littmark 1985, the universal screening function.
AMPLITUDES, DECAYS = (0.18175, 0.50986, 0.28022, 0.02817), (3.19980, 0.94229, 0.40290, 0.20162)
#: x = r / a, a = SCREENING / (Z_i^POWER + Z_j^POWER) bohr: the same.
SCREENING, POWER = 0.88534, 0.23
#: Times the covalent radii of Cordero et al., Dalton Trans. 2832 (2008), as in ASE: a tenth shorter than triple bonds of
#: main-group elements.
WITHIN = 0.7


class NuclearRepulsion(DensityIndependent):
    """E = sum_(i<j) Z_i Z_j / r_ij phi(r_ij / a_ij) s(r_ij / (R_i + R_j)), the universal screened repulsion of nuclei.

    Brought to zero at R_i + R_j by s(x) = (1 - x^2)^3, and zero beyond. With the radii that it has by default it leaves the
    bonds of main-group elements alone (Cr2, with its sextuple bond, has 0.2 eV of it), and is a wall for learnt functionals
    where they have seen nothing.

    Args:
        radius: R_i, bohr, > 0: a number, per element, per atom, or a module; default: 0.7 covalent radii.

    Source: J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Solids (Pergamon, 1985), chapter 2.
    """

    def __init__(self, radius: ParameterLike | None = None) -> None:
        super().__init__()
        small = {chemical_symbols[z]: WITHIN * float(covalent_radii[z]) * angstrom for z in range(1, len(covalent_radii))}
        self.radius = AtomParameter(small if radius is None else radius, "radius", positive=True)

    def of_structure(self, structure: Structure) -> Tensor:
        """Sum over pairs of each structure, hartree."""
        radius = self.radius(structure)
        i, j, u = near_pairs(structure, 2 * float(radius.detach().max()), both=False)
        r = (u * u).sum(1).sqrt()
        z = structure.numbers.to(r)
        x = r * (z[i] ** POWER + z[j] ** POWER) / SCREENING
        phi = torch.stack([c * torch.exp(-d * x) for c, d in zip(AMPLITUDES, DECAYS, strict=True)]).sum(0)
        wall = z[i] * z[j] / r * phi * fading(u, radius[i] + radius[j])
        return r.new_zeros(len(structure)).index_add(0, structure.index[i], wall)
