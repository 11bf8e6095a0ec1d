"""The charge-equilibration model that every code solves.

    E = sum_i (chi_i q_i + 1/2 J_i q_i^2) + 1/2 integral integral rho(r) rho(r') / |r - r'|,   sum_i q_i = 0

with rho Gaussian charges of standard deviation sigma = 1 angstrom. The second term includes the interaction of each charge
with itself, so the diagonal of the Hessian is J_i + 1 / (sqrt(pi) sigma), 8.124 eV more than J_i: J is the hardness beyond
that of the Gaussian. Every code adds the Gaussian's own; they call the rest (Gaussian units, e^2 = 1):

    cgdft             eta = J of `Hardness`, sigma = `width`
    torch-admp        `hardness` = J / 2 (its energy is hardness q^2), `eta` = sigma
    LAMMPS ELECTRODE  `tf` length l and volume v with 4 pi l^2 / v = J, `eta` = 1 / (sqrt(2) sigma)
    OpenMM            `thomasFermiScale` = J / (4 pi), `gaussianWidth` = sqrt(2) sigma

and the electronegativity is minus the potential of an electrode. Tolerances have as many meanings: of the residual's norm
relative to the start (cgdft), norm / N in eV / e (torch-admp), root of the mean square in kJ / mol / e (OpenMM).
"""

from __future__ import annotations

import numpy as np

from cgdft.validation.speed.systems import Array, System

SIGMA = 1.0  # angstrom
#: Electronegativity and hardness, eV: Na and Cl from A. K. Rappe, W. A. Goddard, J. Phys. Chem. 95, 3358 (1991); H and O
#: likewise, rounded; for the metal of a slab a soft one.
CHI = {1: 4.5, 8: 8.7, 11: 2.843, 17: 8.564, 79: 5.0}
HARDNESS = {1: 13.9, 8: 13.4, 11: 4.592, 17: 9.892, 79: 0.5}


def per_atom(table: dict[int, float], system: System) -> Array:
    """The values of a table by atomic number, (n_atoms,)."""
    return np.array([table.get(z, np.nan) for z in range(120)])[system.numbers]
