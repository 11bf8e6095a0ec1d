"""Two electrodes at a potential difference: charges of their atoms follow, screened over the Thomas-Fermi length.

Charges: latent.
Source: siepmann1995, scalfi2020
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from cgdft.basis import Multipoles
from cgdft.constraint import Atoms, Constraint, PerStructure, PotentialDifference
from cgdft.functionals.hardness import Hardness
from cgdft.functionals.hartree import Hartree
from cgdft.model import Model
from cgdft.parameter import ParameterLike
from cgdft.structure import Structure
from cgdft.units import angstrom

#: Width, bohr, of exp(-eta^2 r^2) with eta = 1.979 / angstrom: S. K. Reed, O. J. Lanning, P. A. Madden, J. Chem. Phys. 126,
#: 084704 (2007).
WIDTH = angstrom / (1.979 * math.sqrt(2))


def Electrodes(
    first: Atoms,
    second: Atoms,
    difference: PerStructure,
    length: float = 0.0,
    volume: float | None = None,
    width: ParameterLike = WIDTH,
    charge: PerStructure | None = None,
    rest: Sequence[Constraint] = (),
) -> Model:
    """E = Hartree + sum_i 2 pi l^2 q_i^2 / v, with V_first - V_second held by a battery: E less its work is minimised.

    Other atoms need constraints, `rest` (FragmentCharge of each ion or molecule); molecules need terms of their own as well.

    Args:
        first, second: atoms of the electrodes: numbers, mask, or a function structure -> mask.
        difference: V_first - V_second, hartree / e.
        length: Thomas-Fermi length l, bohr; 0: a perfect metal.
        volume: v of an atom in the electrode, bohr^3; needed for l > 0.
        width: of the Gaussian charges, bohr.
        charge: of both electrodes together, e; default: what `rest` leaves of the structure's.
        rest: constraints on all other atoms.

    Source: J. I. Siepmann, M. Sprik, J. Chem. Phys. 102, 511 (1995); L. Scalfi, T. Dufils, K. G. Reeves, B. Rotenberg,
    M. Salanne, J. Chem. Phys. 153, 174704 (2020).
    """
    if length < 0 or (length > 0 and volume is None):
        raise ValueError(f"`length` must be zero or positive, and with a `volume`, got length={length}, volume={volume}")
    functional = Hartree() if volume is None or length == 0 else Hartree() + Hardness(4 * math.pi * length**2 / volume)
    return Model(
        functional,
        Multipoles(lmax=0, width=width),
        constraints=[PotentialDifference(first, second, difference, charge), *rest],
        name="Electrodes",
        references=("siepmann1995", "scalfi2020"),
    )


def example(structure: Structure) -> Model:
    """Hydrogen as one electrode, all other elements as the other, 0.1 hartree / e apart."""
    return Electrodes(_hydrogen, _others, 0.1, length=1.0, volume=50.0, width=1.0)


def _hydrogen(structure: Structure) -> Tensor:
    return structure.numbers == 1


def _others(structure: Structure) -> Tensor:
    return structure.numbers != 1
