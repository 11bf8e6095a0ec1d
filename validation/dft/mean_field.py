"""The PySCF side of a reference: self-consistent field in a uniform field, forces, moments, response, potential."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

# PySCF has no types: its objects are Any. It is imported inside functions because it takes a second.

GRID_LEVEL = 3
FINE_GRID_LEVEL = 5  # where forces cannot follow the grid's motion
CONV_TOL = 1e-10  # hartree
CONV_TOL_GRAD = 3e-8  # norm of the orbital gradient; 1e-6 leaves 5e-4 bohr^3 of noise in polarizabilities
PATIENCE = 20  # iterations, after which a stalled gradient is accepted up to STALLED_TOL_GRAD
STALLED_TOL_GRAD = 1e-5  # sqrt(CONV_TOL); orbitals that are free to rotate, as the hole of a radical, stall near it
MAX_CYCLE = 60
SMEARED_TOL = 1e-8  # hartree, with smearing
COOLING = (0.03, 0.015, 0.01, 0.007)  # hartree, on the way to a smearing
DAMPINGS = (0.5, 0.0, 0.7)  # of DIIS there, one after the other
LEVELS_TOL = 5e-3  # hartree, by which an empty orbital may lie below a filled one: degenerate holes of radicals
BLOCK = 16_000_000  # numbers held at a time where a matrix or vector per point is needed


class NotConverged(RuntimeError):
    """A self-consistent field did not converge, with second-order optimisation tried too: there is no result."""


def build(symbols: Sequence[str], positions: NDArray[np.float64], method: str, charge: int = 0, spin: int | None = None) -> Any:
    """PySCF molecule, positions (n, 3) in bohr, with the effective core potentials that belong to the basis.

    Raises:
        ValueError: a functional or basis that PySCF does not know, or that lacks an element.
    """
    from pyscf import gto
    from pyscf.dft import libxc
    from pyscf.lib.exceptions import BasisNotFoundError
    from pyscf.scf.dispersion import parse_disp

    xc, basis = method.split("/", 1)
    expected = f"`method` must be 'xc/basis' with names known to PySCF and libxc, got {method!r}"
    try:
        libxc.parse_xc(xc)
        libxc.is_nlc(xc)
    except (KeyError, ValueError, NotImplementedError) as error:
        raise ValueError(f"{expected}: no functional {xc!r}; for example 'pbe', 'pbe0', 'wb97x', 'hf'") from error
    if parse_disp(xc)[1] and find_spec("pyscf.dispersion") is None:
        raise ValueError(f"{expected}: dispersion, which changes no density, needs pip install pyscf-dispersion; leave it out")
    require_no_files(basis)
    if spin is None:
        spin = (sum(atomic_numbers[symbol] for symbol in symbols) - charge) % 2
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # PySCF suggests another package before it raises
            cores = {symbol: gto.basis.load_ecp(basis, symbol) for symbol in set(symbols)}
            return gto.M(
                atom=list(zip(symbols, positions.tolist(), strict=True)),
                unit="Bohr",
                basis=basis,
                ecp={symbol: core for symbol, core in cores.items() if core},
                charge=charge,
                spin=spin,
                cart=False,
                verbose=0,
            )
    except (BasisNotFoundError, KeyError, RuntimeError, AssertionError) as error:
        without = [symbol for symbol in sorted(set(symbols)) if not _in_basis(symbol, basis)]
        found = ", ".join(without or sorted(set(symbols)))
        raise ValueError(f"{expected}: no basis {basis!r} for {found}; for example 'def2-svp', 'def2-tzvp'") from error


def require_no_files(*names: str) -> None:
    """Raise a ValueError where PySCF would read a file in place of what has one of these names, or of a basis of its own.

    Those of its own are for fitting and for guesses.
    """
    from pyscf.gto.basis import ALIAS

    with suppress(OSError):  # of a folder that cannot be listed
        names = (*names, *(one for one in os.listdir() if re.sub(r"[-_ ]", "", one.lower()) in ALIAS))
    if found := [name for name in names if os.path.isfile(name.partition("@")[0])]:
        raise ValueError(
            f"`{found[0]}` must be a name known to PySCF, got that of a file in this folder, which PySCF would read in its "
            "place: move the file, or work in another folder"
        )


def _in_basis(symbol: str, basis: str) -> bool:
    from pyscf import gto

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            return bool(gto.basis.load(basis, symbol))
        except (KeyError, RuntimeError, AssertionError):
            return False


def nonlocal_correlation(xc: str) -> bool:
    """Whether a functional has a part of which PySCF has no kernel for linear response."""
    from pyscf.dft import libxc

    return xc != "hf" and bool(libxc.is_nlc(xc))


def solve(
    mol: Any,
    xc: str,
    *,
    density_fit: bool,
    field: NDArray[np.float64],
    smearing: float = 0.0,
) -> Any:
    """Converged PySCF mean field of E - field . D, unrestricted where `mol` has unpaired electrons.

    With `smearing` k_B T (hartree) orbitals have Fermi occupations, and `e_tot` is the free energy E - T S. Where the usual
    iteration fails, second-order optimisation is tried once.

    Raises:
        NotConverged: no self-consistent state, or one that is not the lowest of its orbitals.
    """
    from pyscf import dft, scf

    if xc == "hf":
        mf = scf.uhf.UHF(mol) if mol.spin else scf.RHF(mol)
    else:
        mf = dft.UKS(mol, xc=xc) if mol.spin else dft.RKS(mol, xc=xc)
        mf.grids.level = GRID_LEVEL if _grid_can_move(xc) else FINE_GRID_LEVEL
    no_checkpoint(mf)
    if density_fit:
        mf = mf.density_fit()
    mf.conv_tol, mf.conv_tol_grad, mf.max_cycle = CONV_TOL, CONV_TOL_GRAD, MAX_CYCLE
    if field.any():
        core = mf.get_hcore() + np.einsum("x,xij->ij", field, mol.intor("int1e_r"))
        nuclear = mol.energy_nuc() - field @ (mol.atom_charges() @ mol.atom_coords())
        mf.get_hcore = lambda *_: core
        mf.energy_nuc = lambda *_: nuclear
    if smearing:
        return _smeared(mf, smearing)
    energies: list[float] = []
    best: dict[str, Any] = {"e_tot": np.inf}

    def keep(state: dict[str, Any]) -> None:
        energies.append(float(state["e_tot"]))
        if energies[-1] < best["e_tot"]:
            best.update({name: state[name] for name in ("e_tot", "mo_coeff", "mo_occ")})

    mf.callback, mf.check_convergence = keep, _converged
    mf.kernel()
    if not mf.converged:
        second = mf.newton()
        second.conv_tol_grad, second.check_convergence = STALLED_TOL_GRAD, None
        second.kernel(best["mo_coeff"], best["mo_occ"])
        for name in ("converged", "e_tot", "mo_coeff", "mo_occ", "mo_energy"):
            setattr(mf, name, getattr(second, name))
        mf.converged = mf.converged and mf.e_tot < best["e_tot"] + 1e-7  # else it is an excited solution
    if not mf.converged:
        change = f"{abs(energies[-1] - energies[-2]):.1e} hartree" if len(energies) > 1 else "unknown"
        raise NotConverged(
            f"{xc}/{mol.basis} did not converge to {CONV_TOL} hartree, or not to its lowest state, in {len(energies)} "
            f"iterations (last change {change}) in the field {field.tolist()}: check the geometry, `charge` and "
            "`spin`; a stretched bond or a metal cluster may need smearing=0.005, more unpaired electrons, or another method"
        )
    if (overlap := _overlap_of_levels(mf)) > LEVELS_TOL:
        raise NotConverged(
            f"{xc}/{mol.basis} has no lowest state with whole occupations: an empty orbital lies {overlap:.3f} hartree below a "
            "filled one, as where a bond is broken or a metal's levels meet; pass smearing=0.005 (hartree)"
        )
    return mf


def fitting_error(mf: Any) -> float:
    """What fitted Coulomb integrals change in the energy of the density that they lead to, hartree.

    Of exchange that depends on the range, the part that does not.
    """
    from pyscf.scf.hf import dot_eri_dm

    density = np.asarray(mf.make_rdm1())
    spins = density if density.ndim == 3 else np.stack([density, density]) / 2
    exact = dot_eri_dm(mf.mol.intor("int2e", aosym="s8"), spins, hermi=1)
    coulomb, exchange = (np.asarray(one) - two for one, two in zip(mf.with_df.get_jk(spins, hermi=1), exact, strict=True))
    fraction = mf._numint.hybrid_coeff(mf.xc) if hasattr(mf, "xc") else 1.0
    repulsion = 0.5 * np.einsum("ij,ji->", coulomb.sum(0), spins.sum(0))
    return float(repulsion - 0.5 * fraction * np.einsum("sij,sji->", exchange, spins))


def _smeared(mf: Any, smearing: float) -> Any:
    """Converged with Fermi occupations at k_B T = `smearing` hartree; `e_tot` is the free energy E - T S, as of the forces."""
    from pyscf.scf import addons

    mf.conv_tol, mf.conv_tol_grad, mf.max_cycle = SMEARED_TOL, STALLED_TOL_GRAD, 3 * MAX_CYCLE
    mf = addons.smearing(mf, sigma=smearing, method="fermi", fix_spin=bool(mf.mol.spin))
    cooling = [(temperature, DAMPINGS) for temperature in (*(one for one in COOLING if one > smearing), smearing)]
    density = None
    for mf.sigma, dampings in [(smearing, DAMPINGS[:1]), *cooling]:  # most need no cooling
        for mf.diis_damp in dampings:
            mf.kernel(density)
            if mf.converged:
                break
        if mf.converged and mf.sigma == smearing:
            break
        density = mf.make_rdm1()
    if not mf.converged:
        raise NotConverged(
            f"{getattr(mf, 'xc', 'hf')}/{mf.mol.basis} did not converge with smearing {smearing} hartree: pass a larger one"
        )
    mf.e_tot = mf.e_free
    return mf


def _overlap_of_levels(mf: Any) -> float:
    """Highest filled less lowest empty orbital energy, hartree, the larger of both spins."""
    energies, filled = np.atleast_2d(mf.mo_energy), np.atleast_2d(mf.mo_occ) > 0
    pairs = [e[n].max() - e[~n].min() for e, n in zip(energies, filled, strict=True) if n.any() and not n.all()]
    return float(max(pairs, default=-np.inf))


def no_checkpoint(mf: Any) -> None:
    """Close and forget the temporary file that PySCF opens for every mean field."""
    mf._chkfile.close()
    mf.chkfile = None


def _converged(state: dict[str, Any]) -> bool:
    """PySCF's hook: energy and orbital gradient; a gradient that stalls is given up on after a while."""
    tolerance = state["conv_tol_grad"] if state["cycle"] < PATIENCE else STALLED_TOL_GRAD
    return bool(abs(state["e_tot"] - state["last_hf_e"]) < state["conv_tol"] and state["norm_gorb"] < tolerance)


def _grid_can_move(xc: str) -> bool:
    """PySCF has no response of the integration grid for meta-GGAs."""
    from pyscf.dft import libxc

    return not libxc.is_meta_gga(xc)


def total_density_matrix(mf: Any) -> NDArray[np.float64]:
    """Density matrix (n_ao, n_ao) of all electrons, spins added."""
    matrix = np.asarray(mf.make_rdm1())
    return matrix.sum(axis=0) if matrix.ndim == 3 else matrix


def forces(mf: Any, xc: str, field: NDArray[np.float64]) -> NDArray[np.float64]:
    """F_A = -dE/dR_A (n, 3) in hartree/bohr, with the uniform field's part and the motion of the integration grid."""
    mol = mf.mol
    gradient = mf.nuc_grad_method()
    if xc != "hf":
        gradient.grid_response = _grid_can_move(xc)
    core = gradient.get_hcore(mol)
    position_nabla = mol.intor("int1e_irp").reshape(3, 3, mol.nao, mol.nao)  # <i| r_c d/dx |j> at [c, x]
    core = core - np.einsum("c,cxij->xji", field, position_nabla)
    gradient.get_hcore = lambda *_: core
    return np.asarray(-gradient.kernel() + mol.atom_charges()[:, None] * field)


def dipole(mol: Any, density_matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """D = sum_A Z_A R_A - integral n(r) r (3,) in e bohr, about the origin of coordinates."""
    electrons = np.einsum("xij,ji->x", mol.intor("int1e_r"), density_matrix)
    return np.asarray(mol.atom_charges() @ mol.atom_coords() - electrons)


def quadrupole(mol: Any, density_matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """1/2 integral rho (3 r_i r_j - r^2 delta_ij), about the origin: Buckingham's traceless (3, 3) in e bohr^2."""
    moments = mol.intor("int1e_rr").reshape(3, 3, mol.nao, mol.nao)
    nuclei = np.einsum("a,ai,aj->ij", mol.atom_charges(), mol.atom_coords(), mol.atom_coords())
    second = nuclei - np.einsum("xyij,ji->xy", moments, density_matrix)
    return np.asarray(1.5 * second - 0.5 * np.trace(second) * np.eye(3))


def electron_density(mol: Any, density_matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """n(r) (m,) in 1/bohr^3 at `points` (m, 3) in bohr."""
    result = np.empty(len(points))
    step = max(1, BLOCK // mol.nao)
    for start in range(0, len(points), step):
        orbitals = mol.eval_gto("GTOval_sph", points[start : start + step])
        result[start : start + step] = np.einsum("gi,gi->g", orbitals @ density_matrix, orbitals)
    return result


def electron_potential(mol: Any, density_matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """-integral n(r')/|r - r'| d3r' (m,) in hartree/e at `points` (m, 3) in bohr: exact integrals, no fit."""
    result = np.empty(len(points))
    step = max(1, BLOCK // mol.nao**2)
    for start in range(0, len(points), step):
        inverse_distance = mol.intor("int1e_grids", hermi=1, grids=points[start : start + step])
        result[start : start + step] = -np.einsum("gij,ij->g", inverse_distance, density_matrix, optimize=True)
    return result


def nuclear_potential(mol: Any, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """sum_A Z_A/|r - R_A| (m,) in hartree/e at `points` (m, 3) in bohr; infinite on a nucleus."""
    distance = np.linalg.norm(points[:, None] - mol.atom_coords(), axis=2)
    with np.errstate(divide="ignore"):
        return np.asarray((mol.atom_charges() / distance).sum(axis=1))
