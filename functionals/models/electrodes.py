"""Two electrodes at a potential difference: charges of their atoms follow, screened over the Thomas-Fermi length.

Charges: latent.
Source: siepmann1995, scalfi2020
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from cgdft.ansatz import CoefficientsLike, Free
from cgdft.basis import Multipoles
from cgdft.constraint import Atoms, Constraint, PerStructure, PotentialDifference, mask_of
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
    length: float | tuple[float, float] = 0.0,
    volume: float | tuple[float, float] | None = None,
    width: ParameterLike = WIDTH,
    charge: PerStructure | None = None,
    rest: Sequence[Constraint] = (),
    charges: CoefficientsLike | None = None,
) -> Model:
    """E = Hartree + sum_i 2 pi l^2 q_i^2 / v, with V_first - V_second held by a battery: E less its work is minimised.

    The sum is over atoms of the electrodes. Other atoms have given `charges`, thousands of them at no cost, or constraints,
    `rest` (FragmentCharge of each ion or molecule); molecules whose charges move need terms of their own as well.

    Args:
        first, second: atoms of the electrodes: numbers, mask, or a function structure -> mask.
        difference: V_first - V_second, hartree / e.
        length: Thomas-Fermi length l, bohr, of both electrodes or of each; 0: a perfect metal.
        volume: v of an atom in the electrode, bohr^3; needed for l > 0.
        width: of the Gaussian charges, bohr.
        charge: of both electrodes together, e; default: what other atoms leave of the structure's.
        rest: constraints on all other atoms.
        charges: of all other atoms, e: per element, per atom, a module; default: they are what `rest` makes them.

    Raises:
        ValueError: a negative length; a length without a volume, or a volume without a length.
        TypeError: `rest` no list of constraints.

    Source: J. I. Siepmann, M. Sprik, J. Chem. Phys. 102, 511 (1995); L. Scalfi, T. Dufils, K. G. Reeves, B. Rotenberg,
    M. Salanne, J. Chem. Phys. 153, 174704 (2020).
    """
    if isinstance(rest, Constraint) or not all(isinstance(one, Constraint) for one in rest):
        raise TypeError(f"`rest` must be a list of Constraint objects, got {rest!r}")
    eta = [_hardness(*of_both) for of_both in zip(_pair(length), _pair(volume), strict=True)]
    if volume is not None and not any(eta):
        raise ValueError(f"`length` must be given with a `volume`, got length={length!r}, volume={volume!r}")
    metal = ThomasFermi(first, second, *eta)
    return Model(
        Hartree() + Hardness(metal) if any(eta) else Hartree(),
        Multipoles(lmax=0, width=width),
        ansatz=None if charges is None else Free(metal.atoms, charges),
        constraints=[PotentialDifference(first, second, difference, charge), *rest],
        name="Electrodes",
        references=("siepmann1995", "scalfi2020"),
    )


class ThomasFermi(nn.Module):
    """The hardness 4 pi l^2 / v of each atom of two electrodes, zero of all others, (n_atoms,), hartree / e^2."""

    def __init__(self, first: Atoms, second: Atoms, eta_first: float, eta_second: float) -> None:
        super().__init__()
        self.first, self.second, self.eta_first, self.eta_second = first, second, eta_first, eta_second

    def forward(self, structure: Structure) -> Tensor:
        """eta of every atom."""
        return self.eta_first * mask_of(self.first, structure) + self.eta_second * mask_of(self.second, structure)

    def atoms(self, structure: Structure) -> Tensor:
        """Whether an atom is of an electrode, (n_atoms,)."""
        return mask_of(self.first, structure) + mask_of(self.second, structure) > 0


def _pair(value: Any) -> tuple[Any, Any]:
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


def _hardness(length: float, volume: float | None) -> float:
    """4 pi l^2 / v."""
    if not 0 <= length < math.inf or not (volume is None or 0 < volume < math.inf) or (length > 0 and volume is None):
        raise ValueError(
            f"`length` and `volume` must be numbers greater than zero, or left out, got length={length!r}, volume={volume!r}"
        )
    return 0.0 if volume is None else 4 * math.pi * length**2 / volume


def example(structure: Structure) -> Model:
    """The lightest element as one electrode, all other elements as the other, 0.1 hartree / e apart."""
    lightest = int(structure.numbers.min())
    return Electrodes(partial(_of, lightest, True), partial(_of, lightest, False), 0.1, length=1.0, volume=50.0, width=1.0)


def _of(number: int, which: bool, structure: Structure) -> Tensor:
    return (structure.numbers == number) == which
