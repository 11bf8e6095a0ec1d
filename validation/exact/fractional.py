"""E(N) of an atom with a fractional number of electrons: what a method says about adding a little charge.

    E(Z + x),  0 <= x <= 1 gaining an electron;   E(Z - x) losing one,

unrestricted, the last electron's orbital partly filled. The exact E(N) is straight between integers and jumps in slope by IP -
EA there (J. P. Perdew, R. G. Parr, M. Levy, J. L. Balduz, Phys. Rev. Lett. 49, 1691 (1982)); a semilocal functional bends it
into the parabola of charge equilibration; Hartree-Fock bends it the other way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from cgdft.validation.dft import mean_field
from cgdft.validation.dft.mean_field import NotConverged
from cgdft.validation.dft.request import ground_state_spin

STEPS = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)
CONV_TOL = 1e-9  # hartree


@dataclass(frozen=True, eq=False)
class AtomCurve:
    """E(Z + x) of one atom.

    Args:
        symbol: of the element.
        method: "xc/basis".
        electrons: x (m,) beyond neutrality, ascending.
        energies: (m,), hartree.
    """

    symbol: str
    method: str
    electrons: NDArray[np.float64]
    energies: NDArray[np.float64]

    def at(self, x: float) -> float:
        """E, hartree; raises ValueError where it was not computed."""
        near = np.flatnonzero(np.abs(self.electrons - x) < 1e-9)
        if not len(near):
            raise ValueError(f"`x` must be one of {self.electrons.tolist()}, got {x}")
        return float(self.energies[near[0]])

    @property
    def ionisation_energy(self) -> float:
        """E(Z - 1) - E(Z), hartree."""
        return self.at(-1.0) - self.at(0.0)

    @property
    def electron_affinity(self) -> float:
        """E(Z) - E(Z + 1), hartree."""
        return self.at(0.0) - self.at(1.0)

    @property
    def hardness(self) -> float:
        """IP - EA, hartree/e^2."""
        return self.ionisation_energy - self.electron_affinity

    def bend(self, side: int) -> float:
        """E at half an electron less the straight line between integers, hartree; `side` +1 gaining, -1 losing."""
        return self.at(0.5 * side) - 0.5 * (self.at(0.0) + self.at(float(side)))

    def curvature(self, side: int) -> float:
        """d2E/dN2 of the parabola through both integers and the half, hartree/e^2: -8 times the bend."""
        return -8 * self.bend(side)

    @property
    def jump(self) -> float:
        """Of dE/dN at the neutral atom, with a parabola on each side, hartree/e: IP - EA - (c_+ + c_-) / 2."""
        return self.hardness - (self.curvature(1) + self.curvature(-1)) / 2


def atom_curve(symbol: str, method: str = "pbe/def2-tzvpd", steps: Sequence[float] = STEPS) -> AtomCurve:
    """E(Z + x) for `steps` x between -1 and 1.

    Spins follow Hund: those of the neutral atoms with as many electrons, so main-group elements are meant.

    Raises:
        ValueError: other steps.
        NotConverged: naming the step that failed.
    """
    wanted = np.array(sorted(steps), dtype=float)
    if not len(wanted) or not (np.abs(wanted) <= 1).all():
        raise ValueError(f"`steps` must be between -1 and 1 electrons, got {list(steps)}")
    number = atomic_numbers[symbol]
    spin = ground_state_spin(number)
    mol = mean_field.build([symbol], np.zeros((1, 3)), method, 0, spin)
    found: dict[float, float] = {}
    for side in (1, -1):
        guess = None
        change = 1 if ground_state_spin(number + side) > spin else -1  # of the number of unpaired electrons
        for x in sorted(wanted[wanted * side >= 0], key=abs):
            up, down = (mol.nelectron + spin) / 2, (mol.nelectron - spin) / 2
            if side * change > 0:
                up += x
            else:
                down += x
            mf = _solved(mol, method, up, down, guess)
            if not mf.converged:
                raise NotConverged(
                    f"{symbol} with {x:+g} electrons did not converge with {method}: try another method or fewer steps"
                )
            guess, found[float(x)] = mf.make_rdm1(), float(mf.e_tot)
    return AtomCurve(symbol, method, wanted, np.array([found[x] for x in wanted.tolist()]))


def _solved(mol: Any, method: str, up: float, down: float, guess: Any) -> Any:
    """Unrestricted mean field with `up` and `down` electrons in the lowest orbitals of each spin."""
    from pyscf import dft, scf

    xc = method.split("/", 1)[0]
    mf = scf.uhf.UHF(mol) if xc == "hf" else dft.UKS(mol, xc=xc)
    mean_field.no_checkpoint(mf)
    mf.conv_tol, mf.max_cycle = CONV_TOL, 200

    def occupied(energies: Any, _: Any = None) -> NDArray[np.float64]:
        occupations = np.zeros_like(np.asarray(energies))
        for row, levels, n in zip(occupations, energies, (up, down), strict=True):
            order = np.argsort(levels)
            whole = int(np.floor(n + 1e-9))
            row[order[:whole]] = 1.0
            if n - whole > 1e-9:
                row[order[whole]] = n - whole
        return occupations

    mf.get_occ = occupied
    mf.kernel(guess)
    if not mf.converged:
        mf.level_shift, mf.damp = 0.3, 0.3
        mf.kernel(mf.make_rdm1())
    return mf
