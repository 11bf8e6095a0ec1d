"""Density-functional answers for one molecule, from PySCF, kept on disk by the hash of their input."""

import dataclasses
import logging
import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray

from cgdft.validation import coarse_grain, mean_field
from cgdft.validation.cache import CorruptCache, cache_folder, read_record, write_record
from cgdft.validation.mean_field import NotConverged
from cgdft.validation.pro_atoms import pro_atoms
from cgdft.validation.request import Request
from cgdft.validation.surfaces import picture_plane, van_der_waals_shells

if TYPE_CHECKING:
    from cgdft.structure import Structure

__all__ = ["CorruptCache", "NotConverged", "Reference", "cached", "reference"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Reference:
    """What density-functional theory says about one molecule. Hartree atomic units; n atoms, m points.

    | field | shape | unit | meaning |
    | --- | --- | --- | --- |
    | numbers, positions | (n,), (n, 3) | -, bohr | the nuclei |
    | charge, spin, method | - | e, -, - | total charge, unpaired electrons, "xc/basis" |
    | field | (3,) | hartree/(e bohr) | uniform field F: the energy has -F . D, nuclei included |
    | energy, forces | -, (n, 3) | hartree, hartree/bohr | total energy and -dE/dR |
    | dipole | (3,) | e bohr | about the origin of coordinates, towards positive charge |
    | quadrupole | (3, 3) | e bohr^2 | traceless (Buckingham), 1/2 integral rho (3 r r - r^2 1), about the origin |
    | polarizability | (3, 3) or None | bohr^3 | dD/dF |
    | multipoles | (n, 9) | e bohr^l | Hirshfeld's, of the difference density; l <= 2 in e3nn's order |
    | points, shell | (m, 3), (m,) | bohr, - | van der Waals surfaces; 0 inner (1.4-2 radii), 1 outer (2.25-3) |
    | potential | (m,) | hartree/e | of nuclei and electrons at the points |
    | potential_difference | (m,) | hartree/e | the same, less that of superposed neutral spherical atoms |
    | plane | (61, 61, 3) | bohr | a plane for pictures, [row, column] |
    | plane_potential(_difference) | (61, 61) | hartree/e | as above; the full one is infinite on a nucleus |
    | provenance | dict | - | versions, settings, accuracy reached, threads, seconds, date |

    What a cgdft density should reproduce is `potential_difference`: in this package rho is the deviation from
    superposed neutral atoms. Dipole and traceless quadrupole are the same for both.
    """

    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    charge: int
    spin: int
    method: str
    field: NDArray[np.float64]
    energy: float
    forces: NDArray[np.float64]
    dipole: NDArray[np.float64]
    quadrupole: NDArray[np.float64]
    polarizability: NDArray[np.float64] | None
    multipoles: NDArray[np.float64]
    points: NDArray[np.float64]
    shell: NDArray[np.int64]
    potential: NDArray[np.float64]
    potential_difference: NDArray[np.float64]
    plane: NDArray[np.float64]
    plane_potential: NDArray[np.float64]
    plane_potential_difference: NDArray[np.float64]
    provenance: dict[str, Any]

    def structure(self) -> "Structure":
        """The same nuclei, total charge and unpaired electrons as a `cgdft.Structure`, for models to be called on."""
        import torch  # here, so that references need no torch

        from cgdft.structure import Structure

        return Structure(
            torch.from_numpy(self.numbers.copy()),
            torch.from_numpy(self.positions.copy()),
            charge=torch.tensor(float(self.charge)),
            spin=torch.tensor(float(self.spin)),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one HDF5 file, whole or not at all."""
        write_record(path, {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Reference":
        """Read a file written by `save`; raises `CorruptCache` if it is truncated, edited or of another kind."""
        try:
            return cls(**read_record(path))
        except TypeError as error:
            raise CorruptCache(f"`path` must be a stored reference, got {path}: {error}") from error


def reference(
    atoms: Atoms,
    method: str = "pbe/def2-svp",
    *,
    charge: int | None = None,
    spin: int | None = None,
    field: ArrayLike | None = None,
    density_fit: bool = True,
    polarizability: bool = True,
    threads: int | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Reference:
    """Energy, forces, moments, polarizability, Hirshfeld multipoles and potentials of a molecule.

    Arguments:
        atoms: a molecule or cluster, no periodic boundaries (positions in angstrom, as always in ASE).
        method: "xc/basis" in PySCF's names; "hf/basis" is Hartree-Fock. Core potentials come with the basis.
        charge: total charge in e; default atoms.info["charge"], else the sum of initial charges.
        spin: number of unpaired electrons; default 0, must be given if the number of electrons is odd.
        field: (3,) uniform field in hartree/(e bohr), adding -field . D to the energy.
        density_fit: fitted Coulomb integrals: energies change by about 1e-5 hartree per atom, and cost much less.
        polarizability: also solve in six small fields.
        threads: of PySCF, while it runs; default 2, or fewer if OMP_NUM_THREADS or the number of cores is less.
        cache: folder of stored results; default $CGDFT_CACHE, else the user's cache folder.

    A result with the same input and PySCF version is read back, not computed again. Raises ValueError for bad input
    and `NotConverged` where there is no self-consistent answer.
    """
    request = Request.from_atoms(
        atoms, method, charge=charge, spin=spin, field=field, density_fit=density_fit, polarizability=polarizability
    )
    folder = cache_folder(cache)
    for path in _stored(request, folder):
        try:
            return Reference.load(path)
        except CorruptCache as error:
            log.warning("%s; it is computed again", error)
    result = _compute(request, threads)
    result.save(request.path(folder))
    return result


def cached(
    atoms: Atoms,
    method: str = "pbe/def2-svp",
    *,
    charge: int | None = None,
    spin: int | None = None,
    field: ArrayLike | None = None,
    density_fit: bool = True,
    polarizability: bool = True,
    cache: str | os.PathLike[str] | None = None,
) -> Path | None:
    """The file from which `reference` would answer at once with the same arguments, or None if it would compute."""
    request = Request.from_atoms(
        atoms, method, charge=charge, spin=spin, field=field, density_fit=density_fit, polarizability=polarizability
    )
    return next(iter(_stored(request, cache_folder(cache))), None)


def _stored(request: Request, folder: Path) -> list[Path]:
    """Files that answer the request; one with the polarizability answers a request without it."""
    paths = [request.path(folder), dataclasses.replace(request, polarizability=True).path(folder)]
    return [path for path in dict.fromkeys(paths) if path.exists()]


def _compute(request: Request, threads: int | None) -> Reference:
    from pyscf import lib

    start = time.perf_counter()
    threads = threads or min(2, lib.num_threads())  # the latter follows OMP_NUM_THREADS
    with lib.with_omp_threads(threads):
        values, details = _solve(request)
    provenance = {
        "pyscf": version("pyscf"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "settings": {
            "density_fit": request.density_fit,
            "conv_tol_hartree": mean_field.CONV_TOL,
            "conv_tol_grad": mean_field.CONV_TOL_GRAD,
            "field_step_hartree_per_e_bohr": mean_field.FIELD_STEP,
            "hirshfeld_grid_level": coarse_grain.GRID_LEVEL,
        },
        **details,
        "threads": threads,
        "wall_seconds": round(time.perf_counter() - start, 2),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return Reference(
        numbers=request.numbers,
        positions=request.positions,
        charge=request.charge,
        spin=request.spin,
        method=request.method,
        field=request.field,
        provenance=provenance,
        **values,
    )


def _solve(request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    """The computed fields of a `Reference`, and what its provenance says about how they were computed."""
    symbols = [chemical_symbols[number] for number in request.numbers]
    xc, density_fit, field = request.method.split("/", 1)[0], request.density_fit, request.field
    mol = mean_field.build(symbols, request.positions, request.method, request.charge, request.spin)
    mf = mean_field.solve(mol, xc, density_fit=density_fit, field=field)
    density_matrix = mean_field.total_density_matrix(mf)
    atoms = pro_atoms(symbols, request.method)
    multipoles = coarse_grain.hirshfeld(mol, density_matrix, atoms)
    accuracy = {"hirshfeld_charge_or_dipole_error": coarse_grain.grid_residual(mol, density_matrix, multipoles)}
    accuracy["orbital_gradient"] = float(np.linalg.norm(mf.get_grad(mf.mo_coeff, mf.mo_occ)))
    alpha = None
    if request.polarizability:
        raw = mean_field.polarizability(mf, xc, density_fit=density_fit, field=field)
        alpha = (raw + raw.T) / 2
        accuracy["polarizability_asymmetry_bohr3"] = float(np.abs(raw - raw.T).max())

    points, shell = van_der_waals_shells(request.numbers, request.positions)
    plane = picture_plane(request.positions)
    everywhere = np.concatenate([points, plane.reshape(-1, 3)])
    electrons = mean_field.electron_potential(mol, density_matrix, everywhere)
    full = mean_field.nuclear_potential(mol, everywhere) + electrons
    difference = electrons.copy()  # the nuclei cancel
    for symbol, centre in zip(symbols, request.positions, strict=True):
        difference -= atoms[symbol].electron_potential(everywhere - centre)
    m = len(points)
    return {
        "energy": float(mf.e_tot),
        "forces": mean_field.forces(mf, xc, field),
        "dipole": mean_field.dipole(mol, density_matrix),
        "quadrupole": mean_field.quadrupole(mol, density_matrix),
        "polarizability": alpha,
        "multipoles": multipoles,
        "points": points,
        "shell": shell,
        "potential": full[:m],
        "potential_difference": difference[:m],
        "plane": plane,
        "plane_potential": full[m:].reshape(plane.shape[:2]),
        "plane_potential_difference": difference[m:].reshape(plane.shape[:2]),
    }, {"scf_grid_level": None if xc == "hf" else mf.grids.level, "accuracy": accuracy}
