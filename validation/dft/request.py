"""What a reference calculation is asked for, checked and in atomic units, and the key it is stored under."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, ground_state_magnetic_moments
from ase.geometry import minkowski_reduce
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist

from cgdft.charge_state import stated_charge, stated_spin
from cgdft.units import angstrom
from cgdft.validation.definitions import Definition, Hirshfeld, LinearDefinition
from cgdft.validation.dft.periodic import CUTOFF

FORMAT = 4  # raise it when the stored numbers or their meaning change
CLOSEST = 0.1  # bohr
SHORTEST = 1.0  # of lattice vectors, bohr; PySCF dies of much shorter ones


class Settings(TypedDict, total=False):
    """Keyword arguments of `Request.from_atoms`."""

    charge: int | None
    spin: int | None
    field: ArrayLike | None
    definitions: Sequence[Definition]
    polarizability: bool | None
    response: bool
    density_fit: bool
    smearing: float
    cutoff: float


@dataclass(frozen=True, eq=False)
class Request:
    """One molecule or crystal and one method, in Hartree atomic units.

    `numbers` (n,), `positions` (n, 3) and `cell` (3, 3) in bohr, `pbc` (3,), `charge` Q in e, `spin` the number of unpaired
    electrons, `method` "xc/basis" in lower case, `field` (3,) in hartree/(e bohr), `smearing` and `cutoff` in
    hartree.
    """

    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64]
    pbc: NDArray[np.bool_]
    charge: int
    spin: int
    method: str
    field: NDArray[np.float64]
    definitions: tuple[Definition, ...]
    polarizability: bool
    response: bool
    density_fit: bool
    smearing: float
    cutoff: float

    @classmethod
    def from_atoms(
        cls,
        atoms: Atoms,
        method: str = "pbe/def2-svp",
        *,
        charge: int | None = None,
        spin: int | None = None,
        field: ArrayLike | None = None,
        definitions: Sequence[Definition] = (Hirshfeld(),),
        polarizability: bool | None = None,
        response: bool = False,
        density_fit: bool = True,
        smearing: float = 0.0,
        cutoff: float = CUTOFF,
    ) -> Request:
        """Check the user's input.

        Args:
            charge: total charge in e; default atoms.info["charge"] or "total_charge", else the sum of initial charges.
            spin: number of unpaired electrons; default atoms.info["spin"], else the size of the sum of initial magnetic
                moments; must be given if the number of electrons is odd.
            field: (3,) uniform field in hartree/(e bohr), adding -field . D to the energy.
            definitions: of multipoles; the first one is what models are compared with, and what `response` is of.
            polarizability: from coupled-perturbed equations; default, and possible, only for molecules.
            response: also the susceptibility dp/dv of charges and dipoles.
            density_fit: fitted Coulomb integrals, which cost much less of large molecules: energies change by some 1e-5 hartree
                per atom, polarizabilities with PBE/def2-SVP by up to 2.4e-3 of themselves (H2O across its plane), with
                def2-SVPD by 3e-4, with PBE0 by 6e-5; by more where electrons are in orbitals unlike those that it was made
                for, which is told of small molecules.
            smearing: Fermi temperature k_B T, hartree: 0.01 for metals, 0.005 for broken bonds. Energies are then E - T S.
            cutoff: of the plane waves of a periodic cell's density, hartree; 400 for forces on O, F, Na and Mg.

        Raises:
            ValueError: that names the argument, what it was and what to do.
            TypeError: what is no `Atoms`.
        """
        if not isinstance(atoms, Atoms):
            raise TypeError(f"`atoms` must be an ase.Atoms, got {type(atoms).__name__}")
        numbers = np.asarray(atoms.numbers, dtype=np.int64)
        positions = np.asarray(atoms.positions, dtype=np.float64) * angstrom
        if len(atoms) == 0:
            raise ValueError("`atoms` must hold at least one atom, got none")
        if (numbers < 1).any() or (numbers >= len(chemical_symbols)).any():
            raise ValueError(f"`atoms` must be made of known elements, got atomic numbers {sorted(set(numbers.tolist()))}")
        if not np.isfinite(positions).all():
            raise ValueError("`atoms` must have finite positions, got NaN or infinity: check how they were made")
        if len(atoms) > 1 and (closest := _closest(atoms)) < CLOSEST:
            raise ValueError(
                f"`atoms` must be at least {CLOSEST} bohr apart, got {closest:.3g} bohr: "
                "remove the duplicate atom, or check that positions are in angstrom"
            )
        total = _charge(atoms, charge)
        unpaired = _spin(int(numbers.sum()) - total, total, stated_spin(atoms, spin))
        try:
            vector = np.zeros(3) if field is None else np.array(field, dtype=np.float64)
        except (TypeError, ValueError):
            vector = np.full(3, np.nan)
        if vector.shape != (3,) or not np.isfinite(vector).all():
            raise ValueError(f"`field` must be three finite numbers in hartree/(e bohr), got {field!r}")
        name = method.strip().lower()
        if not all(name.partition("/")):
            raise ValueError(f"`method` must be 'xc/basis', for example 'pbe/def2-svp' or 'hf/def2-svp', got {method!r}")
        periodic = bool(atoms.pbc.any())
        listed = isinstance(definitions, Sequence) and len(definitions) > 0
        if not listed or not all(isinstance(one, Definition) for one in definitions):
            raise ValueError(f"`definitions` must be a list of at least one, such as [Hirshfeld()], got {definitions!r}")
        names = [one.name for one in definitions]
        if len(set(names)) < len(names):
            raise ValueError(f"`definitions` must differ, got {', '.join(names)}")
        if response and not isinstance(definitions[0], LinearDefinition):
            raise ValueError(f"`response` needs a first definition that is linear in the density, got {names[0]}")
        if not (np.isfinite(smearing) and smearing >= 0):
            raise ValueError(f"`smearing` must be a temperature in hartree, not negative, got {smearing}")
        wish = not periodic if polarizability is None else bool(polarizability)
        if periodic:
            _check_periodic(atoms, vector, wish or response, names)
        elif smearing and (wish or response):
            raise ValueError(
                f"`polarizability` and `response` need whole occupations, got smearing {smearing}: pass polarizability=False"
            )
        cell, pbc = np.asarray(atoms.cell.array, dtype=np.float64) * angstrom, np.asarray(atoms.pbc, dtype=bool)
        if not periodic:
            cell = np.zeros((3, 3))
        return cls(
            numbers=numbers,
            positions=positions,
            cell=cell,
            pbc=pbc,
            charge=total,
            spin=unpaired,
            method=name,
            field=vector,
            definitions=tuple(definitions),
            polarizability=wish,
            response=bool(response),
            density_fit=bool(density_fit),
            smearing=float(smearing),
            cutoff=float(cutoff),
        )

    @property
    def key(self) -> str:
        """SHA-256 of the canonical input, of PySCF's version and of the file format's."""
        canonical: dict[str, Any] = {
            "format": FORMAT,
            "pyscf": version("pyscf"),
            "numbers": self.numbers.tolist(),
            "positions": (np.round(self.positions, 10) + 0.0).tolist(),  # + 0.0: no minus zero
            "charge": self.charge,
            "spin": self.spin,
            "method": self.method,
            "field": (self.field + 0.0).tolist(),
            "density_fit": self.density_fit,
            "polarizability": self.polarizability,
            "response": self.response,
            "definitions": [one.identity for one in self.definitions],
            "cell": (np.round(self.cell, 10) + 0.0).tolist(),
            "pbc": self.pbc.tolist(),
            "smearing": self.smearing,
            "cutoff": self.cutoff,
        }
        return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()

    def path(self, folder: Path) -> Path:
        """The file in `folder` that holds, or would hold, the answer."""
        return folder / f"{Atoms(numbers=self.numbers).symbols}-{self.key}.h5"


def ground_state_spin(electrons: int) -> int:
    """Unpaired electrons of a neutral atom with so many; a ValueError where no table has it."""
    if electrons >= len(ground_state_magnetic_moments):
        raise ValueError(
            f"the spin of the free atom must be known, got {chemical_symbols[electrons]}: elements go to "
            f"{chemical_symbols[len(ground_state_magnetic_moments) - 1]}"
        )
    return int(ground_state_magnetic_moments[electrons]) if electrons > 0 else 0


def _closest(atoms: Atoms) -> float:
    """Distance of the two nearest atoms, images of others among them, bohr."""
    if not atoms.pbc.any():
        return float(pdist(atoms.positions).min()) * angstrom
    distances = atoms.get_all_distances(mic=True)
    return float(distances[np.triu_indices(len(atoms), 1)].min()) * angstrom


def _check_periodic(atoms: Atoms, field: NDArray[np.float64], response: bool, definitions: Sequence[str]) -> None:
    """Raise ValueError for what a periodic calculation does not have."""
    volume = abs(float(np.linalg.det(atoms.cell.array)))
    if not volume > 1e-6:
        raise ValueError(
            f"`atoms` must have three cell vectors where some axis is periodic, got {atoms.cell.array.tolist()} and "
            f"pbc={atoms.pbc.tolist()}: give a slab its vacuum with atoms.center(vacuum=..., axis=2), or set atoms.pbc = False"
        )
    shortest = float(np.linalg.norm(minkowski_reduce(atoms.cell.array)[0], axis=1).min()) * angstrom
    if shortest < SHORTEST:
        raise ValueError(
            f"`atoms` must have lattice vectors of at least {SHORTEST} bohr, got one of {shortest:.3g} bohr: check that the "
            "cell is in angstrom"
        )
    if field.any():
        raise ValueError("`field` is for molecules, got one for a periodic cell: leave it out")
    if response:
        raise ValueError("`polarizability` and `response` are for molecules, got a periodic cell: leave them out")
    if any(not name.startswith("Hirshfeld") for name in definitions):
        raise ValueError(f"`definitions` of a periodic cell can only be Hirshfeld's, got {', '.join(definitions)}")


def _charge(atoms: Atoms, charge: int | None) -> int:
    """Total charge, a whole number."""
    value = stated_charge(atoms, charge) or 0.0
    if not np.isfinite(value) or abs(value - round(value)) > 1e-6:
        raise ValueError(
            f"`charge` must be a whole number of elementary charges, got {value} "
            "(from the argument, atoms.info['charge'] or the sum of initial charges): pass charge="
        )
    return round(value)


def _spin(electrons: int, charge: int, spin: float | None) -> int:
    """Number of unpaired electrons; no spin is guessed for an odd number of electrons."""
    if electrons < 1:
        raise ValueError(f"`charge` must leave at least one electron, got charge {charge} and {electrons} electrons")
    if spin is None and electrons % 2 == 0:
        return 0
    if spin is None:
        raise ValueError(
            f"`spin` must be given for an odd number of electrons, got None and {electrons} electrons "
            f"(charge {charge}): pass spin=1 for one unpaired electron (3, 5, ... for more), or another charge"
        )
    if spin != int(spin) or not 0 <= spin <= electrons or (electrons - spin) % 2:
        parity = "odd" if electrons % 2 else "even"
        raise ValueError(
            f"`spin` must be the {parity} number of unpaired electrons of {electrons} electrons (charge {charge}), "
            f"got {spin}: pass spin={electrons % 2}, or a larger {parity} number"
        )
    return int(spin)
