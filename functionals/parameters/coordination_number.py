"""How many neighbours an atom has, as a smooth function of all positions: an environment for parameters of terms."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cgdft.electrostatics.pairs import near_pairs
from cgdft.parameter import AtomParameter
from cgdft.structure import Structure
from cgdft.units import angstrom

#: Covalent radius, angstrom: P. Pyykkoe, M. Atsumi, Chem. Eur. J. 15, 186 (2009), those of metals less 10 %, as in S. Grimme,
#: J. Antony, S. Ehrlich, H. Krieg, J. Chem. Phys. 132, 154104 (2010); digits from tad-mctc 0.9.
# fmt: off
COVALENT = {
    "H": 0.32, "He": 0.46, "Li": 1.20, "Be": 0.94, "B": 0.77, "C": 0.75, "N": 0.71, "O": 0.63, "F": 0.64, "Ne": 0.67,
    "Na": 1.40, "Mg": 1.25, "Al": 1.13, "Si": 1.04, "P": 1.10, "S": 1.02, "Cl": 0.99, "Ar": 0.96, "K": 1.76, "Ca": 1.54,
    "Sc": 1.33, "Ti": 1.22, "V": 1.21, "Cr": 1.10, "Mn": 1.07, "Fe": 1.04, "Co": 1.00, "Ni": 0.99, "Cu": 1.01, "Zn": 1.09,
    "Ga": 1.12, "Ge": 1.09, "As": 1.15, "Se": 1.10, "Br": 1.14, "Kr": 1.17, "Rb": 1.89, "Sr": 1.67, "Y": 1.47, "Zr": 1.39,
    "Nb": 1.32, "Mo": 1.24, "Tc": 1.15, "Ru": 1.13, "Rh": 1.13, "Pd": 1.08, "Ag": 1.15, "Cd": 1.23, "In": 1.28, "Sn": 1.26,
    "Sb": 1.26, "Te": 1.23, "I": 1.32, "Xe": 1.31, "Cs": 2.09, "Ba": 1.76, "La": 1.62, "Ce": 1.47, "Pr": 1.58, "Nd": 1.57,
    "Pm": 1.56, "Sm": 1.55, "Eu": 1.51, "Gd": 1.52, "Tb": 1.51, "Dy": 1.50, "Ho": 1.49, "Er": 1.49, "Tm": 1.48, "Yb": 1.53,
    "Lu": 1.46, "Hf": 1.37, "Ta": 1.31, "W": 1.23, "Re": 1.18, "Os": 1.16, "Ir": 1.11, "Pt": 1.12, "Au": 1.13, "Hg": 1.32,
    "Tl": 1.30, "Pb": 1.30, "Bi": 1.36, "Po": 1.31, "At": 1.38, "Rn": 1.42,
}
# fmt: on
#: Beyond r with (r / r0 - 1) = REACH / steepness, a pair counts less than 1e-32, and its square root less than 1e-16.
REACH = 8.5


class CoordinationNumber(nn.Module):
    """CN_i = -ln(1 - (1 - exp(-c_i)) / (1 + exp(-m))),  c_i = sum_j 1/2 erfc(k (r_ij / r0_ij - 1)),  r0_ij = 4/3 (r_i + r_j).

    The logarithm, ln(1 + e^m) - ln(1 + e^(m - c_i)), holds CN at m, to e^-m, and leaves c well below m as it is.

    Args:
        steepness: k.
        maximum: m; None: CN = c.
        radii: covalent radius r_i per element, bohr; default: of the elements up to Rn.

    Source: E. Caldeweyher, S. Ehlert, A. Hansen, H. Neugebauer, S. Spicher, C. Bannwarth, S. Grimme, J. Chem. Phys. 150, 154122
    (2019).
    """

    def __init__(self, steepness: float = 7.5, maximum: float | None = 8.0, radii: Mapping[str, float] | None = None) -> None:
        super().__init__()
        if not (isinstance(steepness, int | float) and steepness > 0):
            raise ValueError(f"`steepness` must be greater than zero, got {steepness!r}")
        if maximum is not None and not (isinstance(maximum, int | float) and maximum > 0):
            raise ValueError(f"`maximum` must be greater than zero, got {maximum!r}")
        radii = {element: radius * angstrom for element, radius in COVALENT.items()} if radii is None else radii
        self.radii = AtomParameter(radii, "radii", positive=True)
        self.steepness, self.maximum = steepness, maximum

    def forward(self, structure: Structure) -> Float[Tensor, " n_atoms"]:
        """CN of every atom, images counted, (n_atoms,)."""
        radius = 4 / 3 * self.radii(structure)
        i, j, apart = near_pairs(structure, 2 * float(radius.detach().max()) * (1 + REACH / self.steepness))
        excess = apart.norm(dim=1) / (radius[i] + radius[j]) - 1
        count = radius.new_zeros(structure.n_atoms).index_add(0, i, 0.5 * torch.special.erfc(self.steepness * excess))
        if self.maximum is None:
            return count
        return -torch.log1p(torch.expm1(-count) * torch.sigmoid(count.new_tensor(self.maximum)))
