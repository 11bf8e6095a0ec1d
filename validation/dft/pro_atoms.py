"""Neutral spherical atoms: the density from which the difference density is measured."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdft.validation.dft.mean_field import NotConverged, build, electron_density, electron_potential, no_checkpoint


@dataclass(frozen=True, eq=False)
class ProAtom:
    """A neutral atom with spherically averaged occupations, at the origin.

    `mol` is the atom in PySCF's terms, `density_matrix` (n_ao, n_ao) its density in the atom's own basis functions.
    """

    mol: Any
    density_matrix: NDArray[np.float64]

    def density(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Electron density (m,) in 1/bohr^3 at `points` (m, 3) in bohr, measured from the nucleus."""
        return electron_density(self.mol, self.density_matrix, points)

    def electron_potential(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Potential (m,) of the electrons alone (negative), in hartree/e, at `points` (m, 3) in bohr."""
        return electron_potential(self.mol, self.density_matrix, points)


def pro_atoms(symbols: Iterable[str], method: str) -> Mapping[str, ProAtom]:
    """Neutral spherical atoms of all elements in `symbols`, with the functional and basis of `method`."""
    return {symbol: _pro_atom(symbol, method) for symbol in sorted(set(symbols))}


@cache
def _pro_atom(symbol: str, method: str) -> ProAtom:
    """Restricted, spherically averaged self-consistent atom; d and f shells filled as in PySCF's tables.

    Source: Lehtola, Phys. Rev. A 101, 012516 (2020), for the occupations.
    """
    from pyscf.scf import ADIIS, atom_hf, atom_ks

    xc, basis = method.split("/", 1)
    mol = build([symbol], np.zeros((1, 3)), method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # PySCF's constructor calls what PySCF deprecates
        if xc != "hf":
            atom = atom_ks.AtomSphericAverageRKS(mol)
        else:
            atom = atom_hf.AtomHF1e(mol) if mol.nelectron == 1 else atom_hf.AtomSphericAverageRHF(mol)
    if xc != "hf":
        atom.xc = xc
        atom.grids.atom_grid = (100, 110)  # 110 directions integrate products of two l = 8 functions exactly
        atom.grids.prune = None
        atom.init_guess = "minao" if mol.has_ecp() else "vsap"  # the latter is for all electrons
        atom.diis = ADIIS()
        atom.diis.space = 12
    no_checkpoint(atom)
    atom.conv_tol = 1e-10
    atom.kernel()
    if not atom.converged:
        raise NotConverged(f"the neutral spherical {symbol} atom did not converge with {xc} and {basis}: try another method")
    density_matrix = np.asarray((atom.mo_coeff * atom.mo_occ) @ atom.mo_coeff.T)
    return ProAtom(mol, density_matrix)
