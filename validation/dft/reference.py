"""Density-functional answers for one molecule or crystal, from PySCF, kept on disk by the hash of their input."""

from __future__ import annotations

import dataclasses
import logging
import os
import platform
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from cgdft.units import angstrom
from cgdft.validation.dft.cache import CorruptCache, cache_folder, read_record, writable, write_record
from cgdft.validation.dft.mean_field import NotConverged
from cgdft.validation.dft.request import Request, Settings
from cgdft.validation.dft.surfaces import picture_plane, van_der_waals_shells

if TYPE_CHECKING:
    from cgdft.structure import Structure

__all__ = ["CorruptCache", "NotConverged", "Reference", "cached", "compute", "recall", "reference"]

log = logging.getLogger(__name__)

#: Error of fitted integrals that is told, hartree per atom.
FITTED = 1e-3


@dataclass(frozen=True, eq=False)
class Reference:
    """What density-functional theory says about one molecule or crystal. Hartree atomic units; n atoms, m points.

    | field | shape | unit | meaning |
    | --- | --- | --- | --- |
    | numbers, positions | (n,), (n, 3) | -, bohr | the nuclei |
    | cell, pbc | (3, 3), (3,) | bohr, - | rows are cell vectors; periodic axes |
    | charge, spin, method | - | e, -, - | total charge, unpaired electrons, "xc/basis" |
    | field | (3,) | hartree/(e bohr) | uniform field F: the energy has -F . D, nuclei included |
    | energy, forces | -, (n, 3) | hartree, hartree/bohr | total energy and -dE/dR; with smearing, of the free energy E - TS |
    | dipole | (3,) | e bohr | about the origin of coordinates, towards positive charge |
    | quadrupole | (3, 3) | e bohr^2 | traceless (Buckingham), 1/2 integral rho (3 r r - r^2 1), about the origin |
    | polarizability | (3, 3) | bohr^3 | dD/dF |
    | susceptibility | (k n, k n) | e^2/hartree | dp_a/dv_b of the first definition's multipoles with l <= 1, k of an atom |
    | moments | name: (n, k) | e bohr^l | multipoles of the difference density by each definition, in e3nn's order |
    | spin_moments | (n, 4) | bohr^l | Hirshfeld's share of up minus down electrons |
    | potential | (m,) | hartree/e | of nuclei and electrons at `points` |
    | potential_difference | (m,) | hartree/e | the same, less that of superposed neutral spherical atoms |
    | plane_potential | (61, 61) | hartree/e | of the difference density on `plane`; three digits, for pictures |
    | density | (a, b, c) | 1/bohr^3 | valence electrons on the mesh of a periodic cell |
    | provenance | dict | - | versions, settings, accuracy reached, threads, seconds, date |

    What does not exist, or was not asked for, is None: dipole, quadrupole, polarizability and potentials of periodic cells,
    the density of molecules, spin moments without unpaired electrons.

    What a cgdft density should reproduce is `potential_difference`: in this package rho is the deviation from
    superposed neutral atoms. Dipole and traceless quadrupole are the same for both.
    """

    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64]
    pbc: NDArray[np.bool_]
    charge: int
    spin: int
    method: str
    field: NDArray[np.float64]
    energy: float
    forces: NDArray[np.float64]
    dipole: NDArray[np.float64] | None
    quadrupole: NDArray[np.float64] | None
    polarizability: NDArray[np.float64] | None
    susceptibility: NDArray[np.float64] | None
    moments: Mapping[str, NDArray[np.float64]]
    spin_moments: NDArray[np.float64] | None
    potential: NDArray[np.float32] | None
    potential_difference: NDArray[np.float32] | None
    plane_potential: NDArray[np.float16] | None
    density: NDArray[np.float32] | None
    provenance: dict[str, Any]

    def __repr__(self) -> str:
        formula = self.atoms().get_chemical_formula()
        charges = ", ".join(f"{q:+.3f}" for q in self.multipoles[:6, 0]) + (", ..." if len(self.numbers) > 6 else "")
        return (
            f"Reference({formula}, charge {self.charge} e, spin {self.spin}, {self.method}: energy {self.energy:.8f} hartree, "
            f"{next(iter(self.moments))} charges {charges} e)"
        )

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why it may not be what was meant: closed shells that are not the lowest state, fitted integrals that are off."""
        accuracy = self.provenance.get("accuracy", {})
        error, found = accuracy.get("density_fit_hartree", 0.0), []
        if abs(error) > FITTED * len(self.numbers):
            found.append(
                f"fitted Coulomb integrals change the energy by {error:.0e} hartree, as where electrons are in orbitals that "
                "the basis for fitting does not have; take density_fit=False"
            )
        if accuracy.get("curvature_towards_open_shells", 0.0) < 0:
            found.append(
                "closed shells are not its lowest state, as where a bond is stretched: energy, charges and response are those "
                "of electrons kept in pairs; take smearing=0.005, or the spin of separate fragments"
            )
        return tuple(found)

    @property
    def multipoles(self) -> NDArray[np.float64]:
        """p (n, k) of the first definition, e bohr^l."""
        return next(iter(self.moments.values()))

    @cached_property
    def points(self) -> NDArray[np.float64]:
        """Points (m, 3) in bohr on van der Waals surfaces."""
        return van_der_waals_shells(self.numbers, self.positions)[0]

    @cached_property
    def shell(self) -> NDArray[np.int64]:
        """Of each point (m,): 0 inner (1.4-2 van der Waals radii), 1 outer (2.25-3)."""
        return van_der_waals_shells(self.numbers, self.positions)[1]

    @cached_property
    def plane(self) -> NDArray[np.float64]:
        """A plane for pictures (61, 61, 3), [row, column], bohr."""
        return picture_plane(self.positions)

    def atoms(self) -> Atoms:
        """The same nuclei as ASE's Atoms (angstrom), with `charge` and `spin` in `info`."""
        cell = self.cell / angstrom if self.pbc.any() else None
        atoms = Atoms(self.numbers, self.positions / angstrom, cell=cell, pbc=self.pbc)
        atoms.info = {"charge": self.charge, "spin": self.spin}
        return atoms

    def structure(self) -> Structure:
        """The same nuclei, total charge and unpaired electrons as a `cgdft.Structure`, for models to be called on."""
        import torch  # here, so that references need no torch

        from cgdft.structure import Structure

        return Structure(
            torch.from_numpy(self.numbers.copy()),
            torch.from_numpy(self.positions.copy()),
            torch.from_numpy(self.cell.copy()),
            torch.from_numpy(self.pbc.copy()),
            charge=torch.tensor(float(self.charge)),
            spin=torch.tensor(float(self.spin)),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one HDF5 file, whole or not at all."""
        write_record(path, {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Reference:
        """Read a file written by `save`; raises `CorruptCache` if it is truncated, edited or of another kind."""
        try:
            return cls(**read_record(path))
        except TypeError as error:
            raise CorruptCache(f"`path` must be a stored reference, got {path}: {error}") from error


def reference(
    atoms: Atoms,
    method: str = "pbe/def2-svp",
    *,
    threads: int | None = None,
    cache: str | os.PathLike[str] | None = None,
    **settings: Unpack[Settings],
) -> Reference:
    """Energy, forces, moments, multipoles, response and potentials of a molecule; energy, forces, multipoles of a crystal.

    A result with the same input and PySCF version is read back, not computed again. Warns of what there is to doubt, see
    `Reference.doubts`.

    Forces of molecules err by their integration grid, PySCF's level 3 (5 of meta-GGAs): by 3e-5 hartree/bohr or less, but by
    6e-5 with PBE/def2-SVP for NaF, 1e-4 for LiOH and 4e-4 for LiF.

    Args:
        atoms: a molecule, or a periodic cell with its vacuum (positions in angstrom, as always in ASE).
        method: "xc/basis" in PySCF's names; "hf/basis" is Hartree-Fock. Core potentials come with the basis. Periodic cells
            have Goedecker's pseudopotentials and their bases: "pbe/gth-dzvp-molopt-sr".
        threads: of PySCF, while it runs; default 2, or fewer if OMP_NUM_THREADS or the number of cores is less.
        cache: folder of stored results; default $CGDFT_CACHE, else the user's cache folder.
        settings: charge, spin, field, definitions, polarizability and others; see `Request.from_atoms`.

    Raises:
        ValueError: bad input.
        NotConverged: there is no self-consistent answer.
    """
    if unknown := settings.keys() - Settings.__annotations__.keys():
        raise TypeError(f"`reference` has settings {', '.join(Settings.__annotations__)}, got {', '.join(sorted(unknown))}")
    request = Request.from_atoms(atoms, method, **settings)
    found = recall(request, cache)
    if found is None:
        folder = writable(cache_folder(cache))
        found = compute(request, threads)
        found.save(request.path(folder))
    for doubt in found.doubts:
        warnings.warn(f"{found!r}: {doubt}", stacklevel=2)
    return found


def cached(
    atoms: Atoms,
    method: str = "pbe/def2-svp",
    *,
    cache: str | os.PathLike[str] | None = None,
    **settings: Unpack[Settings],
) -> Path | None:
    """The file from which `reference` would answer at once with the same arguments, or None if it would compute."""
    return next(iter(_stored(Request.from_atoms(atoms, method, **settings), cache_folder(cache))), None)


def recall(request: Request, cache: str | os.PathLike[str] | None = None) -> Reference | None:
    """The stored answer to a request, or None; a damaged file is as good as none, and is named in the log."""
    for path in _stored(request, cache_folder(cache)):
        try:
            found = Reference.load(path)
            other = [name for name, wanted in _known(request).items() if not _same(getattr(found, name), wanted)]
            if not other:
                return found
            log.warning("%s is the answer to another request, of another %s; it is computed again", path, other[0])
        except CorruptCache as error:
            log.warning("%s; it is computed again", error)
    return None


def _same(one: Any, wanted: Any) -> bool:
    return bool(one == wanted if isinstance(wanted, str) else np.shape(one) == np.shape(wanted) and np.allclose(one, wanted))


def _known(request: Request) -> dict[str, Any]:
    """What a reference has of its request."""
    names = ("numbers", "positions", "cell", "pbc", "charge", "spin", "method", "field")
    return {name: getattr(request, name) for name in names}


def _stored(request: Request, folder: Path) -> list[Path]:
    """Files that answer the request; one with the polarizability answers a request without it."""
    more = [request] if request.pbc.any() else [request, dataclasses.replace(request, polarizability=True)]
    paths = dict.fromkeys(one.path(folder) for one in more)
    return [path for path in paths if path.exists()]


def compute(request: Request, threads: int | None = None) -> Reference:
    """The answer to a request, not kept; raises `NotConverged`."""
    from pyscf import lib

    start = time.perf_counter()
    threads = threads or min(2, lib.num_threads())  # the latter follows OMP_NUM_THREADS
    with lib.with_omp_threads(threads):
        if request.pbc.any():
            from cgdft.validation.dft.crystal import solve_crystal

            values, details = solve_crystal(request)
        else:
            from cgdft.validation.dft.molecule import solve_molecule

            values, details = solve_molecule(request)
    provenance = {
        "pyscf": version("pyscf"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "settings": {"definitions": [repr(one) for one in request.definitions], **details.pop("settings", {})},
        **details,
        "threads": threads,
        "wall_seconds": round(time.perf_counter() - start, 2),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return Reference(**_known(request), provenance=provenance, **values)
