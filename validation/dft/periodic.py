"""Self-consistent field of a periodic cell: valence electrons in Gaussians, their density on a mesh of plane waves.

    E[n] = T_s + Tr(D V_pseudo) + 1/2 sum_{G != 0} 4 pi |n(G)|^2 / (G^2 Omega) + E_xc[n] + E_Ewald,

at the Gamma point, D the density matrix and V_pseudo the nonlocal pseudopotentials of Goedecker, Teter and Hutter (GTH). With a
smearing k_B T the quantity made stationary, whose derivatives the forces are, is the free energy E - T S of Fermi-Dirac
occupations.

Every cell is periodic in three dimensions here: a slab is what its vacuum makes it.

Source: VandeVondele, Krack, Mohamed, Parrinello, Chassaing, Hutter, Comput. Phys. Commun. 167, 103 (2005), for Gaussians
and plane waves; Mermin, Phys. Rev. 137, A1441 (1965), for the free energy.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray

from cgdft.validation.dft.mean_field import NotConverged, no_checkpoint, require_no_files, total_density_matrix

PSEUDOPOTENTIALS = {  # each made with its own functional
    "pbe": "gth-pbe",
    "pbesol": "gth-pbesol",
    "blyp": "gth-blyp",
    "bp86": "gth-bp",
    "olyp": "gth-olyp",
    "teter93": "gth-pade",
}
CUTOFF = 200.0  # hartree
CONV_TOL, CONV_TOL_GRAD, MAX_CYCLE = 1e-9, 1e-5, 60  # hartree; norm of the orbital gradient; iterations
LEVEL_SHIFT, DAMPING = 0.3, 0.7  # hartree; share of the last Fock matrix kept. Both only where the first attempt fails
LEAST_VACUUM = 10.0  # bohr


@dataclass(frozen=True, eq=False)
class PeriodicField:
    """A converged cell. Hartree atomic units; n atoms.

    | field | shape | unit | meaning |
    | --- | --- | --- | --- |
    | numbers, positions, cell | (n,), (n, 3), (3, 3) | -, bohr, bohr | nuclei; cell vectors in rows |
    | xc, basis, charge, spin | - | -, -, e, - | functional, basis, total charge, unpaired electrons |
    | energy | - | hartree | E - T S, whose derivative the forces are; E where nothing is smeared |
    | internal_energy | - | hartree | E |
    | forces | (n, 3) | hartree/bohr | analytic, as they come: their sum is not set to zero |
    | valence | (n,) | e | charge of the nucleus and its pseudised core |
    | density | (m1, m2, m3) | 1/bohr^3 | of valence electrons, at (i/m1, j/m2, k/m3) of the cell; ripples to -1e-6 in vacuum |
    | density_matrix | (n_ao, n_ao) or (2, ...) | - | of each spin where unpaired; a `guess` for the next geometry |
    | notes | - | - | what this calculation leaves out, in words |
    | accuracy | dict | - | force_sum (hartree/bohr), electrons_on_mesh less their number (e), least_density (1/bohr^3) |
    """

    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64]
    xc: str
    basis: str
    charge: int
    spin: int
    energy: float
    internal_energy: float
    forces: NDArray[np.float64]
    valence: NDArray[np.float64]
    density: NDArray[np.float64]
    density_matrix: NDArray[np.float64]
    notes: tuple[str, ...]
    accuracy: dict[str, float]


def solve(
    numbers: ArrayLike,
    positions: ArrayLike,
    cell: ArrayLike,
    xc: str = "pbe",
    basis: str = "gth-dzvp-molopt-sr",
    *,
    pbc: Sequence[bool] = (True, True, True),
    charge: int = 0,
    spin: int = 0,
    cutoff: float = CUTOFF,
    smearing: float = 0.0,
    guess: NDArray[np.float64] | None = None,
) -> PeriodicField:
    """Energy, forces and valence density of a cell at the Gamma point; unrestricted where `spin` is not zero.

    The mesh breaks the invariance under translation, most where a pseudised density is sharp. With PBE at 200 hartree the
    force on an ion errs by up to 3e-5 hartree/bohr for Li, Cl and H, less for Al, 3e-3 for O, 7e-3 for F, 2e-2 for Na and
    0.1 for Mg; at 400 by 3e-4 for O, 1e-2 for Na. See `accuracy["force_sum"]`, and raise `cutoff`.

    Args:
        numbers: (n,).
        positions: (n, 3) in bohr.
        cell: (3, 3) in bohr, vectors in rows.
        xc: a key of `PSEUDOPOTENTIALS`.
        basis: a GTH basis of PySCF.
        pbc: False along vectors that must hold a vacuum of 10 bohr.
        charge: in e.
        spin: number of unpaired electrons, kept when smeared too.
        cutoff: of the density's plane waves, hartree.
        smearing: k_B T, hartree, for metals 0.01.
        guess: a density matrix of the same basis functions.

    Raises:
        ValueError: that names the argument.
        NotConverged: there is no self-consistent answer.
    """
    from pyscf.pbc import dft

    structure = build(numbers, positions, cell, xc, basis, charge=charge, spin=spin, cutoff=cutoff)
    notes = _notes(structure, np.asarray(pbc, dtype=bool))
    if not (np.isfinite(smearing) and smearing >= 0):
        raise ValueError(f"`smearing` must be k_B T in hartree, zero or more, got {smearing}: for a metal pass 0.01")
    mf = (dft.UKS if spin else dft.RKS)(structure, xc=xc.lower()).multigrid_numint()
    no_checkpoint(mf)
    if charge:
        mf._finalize = lambda: mf  # PySCF 2.14 estimates a correction there, on a mesh that its multigrid density is not on
    if smearing:
        mf = mf.smearing(sigma=smearing, method="fermi", fix_spin=bool(spin))
    _converge(mf, guess, smearing)
    forces = -np.asarray(mf.nuc_grad_method().kernel())
    density = mf._numint.get_rho(structure, total_density_matrix(mf), None).reshape(structure.mesh)
    return PeriodicField(
        numbers=np.asarray(numbers, dtype=np.int64),
        positions=structure.atom_coords(),
        cell=structure.lattice_vectors(),
        xc=xc.lower(),
        basis=basis,
        charge=charge,
        spin=spin,
        energy=float(mf.e_free if smearing else mf.e_tot),
        internal_energy=float(mf.e_tot),
        forces=forces,
        valence=structure.atom_charges().astype(float),
        density=density,
        density_matrix=np.asarray(mf.make_rdm1()),
        notes=notes,
        accuracy={
            "force_sum": float(np.linalg.norm(forces.sum(axis=0))),
            "electrons_on_mesh": float(density.mean() * structure.vol - structure.nelectron),
            "least_density": float(density.min()),
        },
    )


def build(
    numbers: ArrayLike,
    positions: ArrayLike,
    cell: ArrayLike,
    xc: str,
    basis: str,
    *,
    charge: int = 0,
    spin: int = 0,
    cutoff: float = CUTOFF,
) -> Any:
    """PySCF's cell, with the pseudopotentials that belong to the functional; arguments and errors as in `solve`."""
    from pyscf.pbc import gto

    z, points = np.asarray(numbers, dtype=np.int64), np.asarray(positions, dtype=np.float64)
    vectors = np.asarray(cell, dtype=np.float64)
    if z.ndim != 1 or z.size == 0 or z.min() < 1 or z.max() >= len(chemical_symbols):
        raise ValueError(f"`numbers` must be (n,) atomic numbers of known elements, got {z.tolist()}")
    if points.shape != (len(z), 3) or not np.isfinite(points).all():
        raise ValueError(f"`positions` must be ({len(z)}, 3) and finite, in bohr, got shape {points.shape}")
    if vectors.shape != (3, 3) or not np.isfinite(vectors).all() or np.linalg.det(vectors) < 1e-3:
        raise ValueError(
            f"`cell` must be three right-handed vectors in rows, in bohr, that span a volume, got {vectors.tolist()}: "
            "along an open direction pass the vector that holds the vacuum"
        )
    if not (np.isfinite(cutoff) and cutoff > 0):
        raise ValueError(f"`cutoff` must be a positive energy in hartree, got {cutoff}: pass {CUTOFF}, or more for semicores")
    symbols = [chemical_symbols[number] for number in z]
    kinds = gth(symbols, xc, basis)
    structure = gto.Cell()
    structure.charge, structure.ke_cutoff, structure.verbose = int(charge), float(cutoff), 0
    structure.spin = None  # any parity: checked below, with our own message
    structure.build(atom=list(zip(symbols, points.tolist(), strict=True)), unit="Bohr", a=vectors, cart=False, **kinds)
    electrons = structure.nelectron
    if electrons < 1 or charge != int(charge):
        raise ValueError(f"`charge` must be whole and leave at least one valence electron, got {charge} and {electrons} left")
    if spin != int(spin) or not 0 <= spin <= electrons or (electrons - spin) % 2:
        parity = "odd" if electrons % 2 else "even"
        raise ValueError(f"`spin` must be the {parity} number of unpaired among {electrons} valence electrons, got {spin}")
    structure.spin = int(spin)
    return structure


def gth(symbols: Sequence[str], xc: str, basis: str) -> dict[str, Any]:
    """PySCF's `basis` and `pseudo` by element; ValueError where there is none for the functional, basis or element."""
    from pyscf.lib.exceptions import BasisNotFoundError
    from pyscf.pbc import gto

    if xc.lower() not in PSEUDOPOTENTIALS:
        raise ValueError(f"`xc` must be a functional with pseudopotentials, one of {', '.join(PSEUDOPOTENTIALS)}, got {xc!r}")
    pseudo, found = PSEUDOPOTENTIALS[xc.lower()], sorted(set(symbols))
    require_no_files(basis, pseudo)
    try:
        if not basis.lower().startswith("gth"):
            raise BasisNotFoundError("it is not made for these pseudopotentials")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # PySCF suggests another package before it raises
            return {
                "basis": {symbol: gto.basis.load(basis, symbol) for symbol in found},
                "pseudo": {symbol: gto.pseudo.load(pseudo, symbol) for symbol in found},
            }
    except (BasisNotFoundError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"`basis` must be a GTH basis that has {', '.join(found)}, and these must have a {pseudo} pseudopotential, "
            f"got {basis!r} ({error}); for example 'gth-dzvp-molopt-sr' with xc='pbe'"
        ) from error


def _converge(mf: Any, guess: NDArray[np.float64] | None, smearing: float) -> None:
    """Iterate to self-consistency; on failure once more from there, held back, and again freely; or raise NotConverged."""
    mf.conv_tol, mf.conv_tol_grad, mf.max_cycle = CONV_TOL, CONV_TOL_GRAD, MAX_CYCLE
    energies: list[float] = []
    mf.callback = lambda state: energies.append(float(state["e_tot"]))
    for held in (False, True, False):
        mf.level_shift, mf.diis_damp = (0.0, 0.0) if not held else (0.0, DAMPING) if smearing else (LEVEL_SHIFT, 0.0)
        mf.kernel(guess)
        if mf.converged and not held:
            return
        guess = np.asarray(mf.make_rdm1())
    change = f"{abs(energies[-1] - energies[-2]):.1e} hartree" if len(energies) > 1 else "unknown"
    raise NotConverged(
        f"{mf.xc} did not converge to {CONV_TOL} hartree in {len(energies)} iterations (last change {change}, smearing "
        f"{smearing} hartree): check the geometry, `charge` and `spin`; a metal or a narrow gap needs smearing=0.01"
    )


def _notes(structure: Any, pbc: NDArray[np.bool_]) -> tuple[str, ...]:
    """What is left out; ValueError where an open direction has less than `LEAST_VACUUM` of vacuum."""
    if pbc.shape != (3,):
        raise ValueError(f"`pbc` must be three booleans, got shape {pbc.shape}")
    notes = ["Gamma point only"]
    vectors = structure.lattice_vectors()
    heights = 1 / np.linalg.norm(np.linalg.inv(vectors), axis=0)
    fractions = np.sort(structure.atom_coords() @ np.linalg.inv(vectors) % 1.0, axis=0)
    gaps = np.diff(np.vstack([fractions, fractions[:1] + 1]), axis=0).max(axis=0) * heights
    for axis in np.flatnonzero(~pbc):
        if gaps[axis] < LEAST_VACUUM:
            raise ValueError(
                f"`cell` must leave {LEAST_VACUUM} bohr of vacuum where `pbc` is False, got {gaps[axis]:.3g} bohr along "
                f"vector {axis}: lengthen the vector, for example with ase's atoms.center(vacuum=..., axis={axis})"
            )
    if not pbc.all():
        notes.append(
            f"repeated along vectors {np.flatnonzero(~pbc).tolist()} through {gaps[~pbc].min():.1f} bohr of vacuum; no dipole "
            "correction"
        )
    if structure.charge:
        notes.append(f"a uniform background of {-structure.charge:+d} e neutralises the cell; its energy is not corrected")
    return tuple(notes)
