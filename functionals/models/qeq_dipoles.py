"""Charge equilibration with a polarizable Gaussian dipole on every atom.

Charges: labelled.
Source: rappe1991, schwerdtfeger2019, tessman1953
"""

from __future__ import annotations

from collections.abc import Mapping

from cgdft.basis import Multipoles
from cgdft.functionals.hardness import Hardness
from cgdft.functionals.models.qeq import WIDTH, functional
from cgdft.model import Model
from cgdft.units import angstrom

#: Dipole polarizability, bohr^3. Neutral free atoms, static: P. Schwerdtfeger, J. K. Nagle, Mol. Phys. 117, 1200 (2019),
#: recommended values. Alkali metals, in molecules and salts nearly always cations, in yellow light: J. R. Tessman, A. H. Kahn,
#: W. Shockley, Phys. Rev. 92, 890 (1953), ions in crystals.
POLARIZABILITY = {
    "H": 4.50711,  # Schwerdtfeger 2019
    "Li": 0.03 * angstrom**3,  # Tessman 1953
    "C": 11.3,  # Schwerdtfeger 2019
    "N": 7.4,  # Schwerdtfeger 2019
    "O": 5.3,  # Schwerdtfeger 2019
    "F": 3.74,  # Schwerdtfeger 2019
    "Na": 0.41 * angstrom**3,  # Tessman 1953
    "Si": 37.3,  # Schwerdtfeger 2019
    "P": 25.0,  # Schwerdtfeger 2019
    "S": 19.4,  # Schwerdtfeger 2019
    "Cl": 14.6,  # Schwerdtfeger 2019
    "K": 1.33 * angstrom**3,  # Tessman 1953
    "Br": 21.0,  # Schwerdtfeger 2019
    "Rb": 1.98 * angstrom**3,  # Tessman 1953
    "I": 32.9,  # Schwerdtfeger 2019
    "Cs": 3.34 * angstrom**3,  # Tessman 1953
}


def QEqDipoles(polarizability: Mapping[str, float] = POLARIZABILITY) -> Model:
    """E = QEq of charges and dipoles + sum_i d_i^2 / (2 alpha_i), minimised at fixed total charge.

    Args:
        polarizability: alpha_i per element, bohr^3; default: of the free neutral atom, for alkali metals of the cation.
    """
    inverse = {element: 1 / alpha for element, alpha in polarizability.items()}
    return Model(
        functional() + Hardness(inverse, l=1),
        Multipoles(lmax=1, width=WIDTH),
        name="QEq + dipoles",
        references=("rappe1991", "schwerdtfeger2019", "tessman1953"),
    )
