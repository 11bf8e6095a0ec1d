"""What a reference calculation is asked for, checked and in atomic units, and the key it is stored under."""

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist

from cgdft.charge_state import stated_charge, stated_spin
from cgdft.units import angstrom

FORMAT = 1  # raise it when the stored numbers or their meaning change
CLOSEST = 0.1  # bohr


@dataclass(frozen=True, eq=False)
class Request:
    """One molecule and one method, in Hartree atomic units.

    `numbers` (n,), `positions` (n, 3) in bohr, `charge` Q in e, `spin` the number of unpaired electrons, `method`
    "xc/basis" in lower case, `field` (3,) in hartree/(e bohr).
    """

    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    charge: int
    spin: int
    method: str
    field: NDArray[np.float64]
    density_fit: bool
    polarizability: bool

    @classmethod
    def from_atoms(
        cls,
        atoms: Atoms,
        method: str,
        *,
        charge: int | None,
        spin: int | None,
        field: ArrayLike | None,
        density_fit: bool,
        polarizability: bool,
    ) -> "Request":
        """Check the user's input; raises ValueError that names the argument, what it was and what to do."""
        if not isinstance(atoms, Atoms):
            raise TypeError(f"`atoms` must be an ase.Atoms, got {type(atoms).__name__}")
        numbers = np.asarray(atoms.numbers, dtype=np.int64)
        positions = np.asarray(atoms.positions, dtype=np.float64) * angstrom
        if atoms.pbc.any():
            raise ValueError(
                f"`atoms` must be a molecule or cluster, got periodic boundaries pbc={atoms.pbc.tolist()}: "
                "cut a cluster, or set atoms.pbc = False"
            )
        if len(atoms) == 0:
            raise ValueError("`atoms` must hold at least one atom, got none")
        if (numbers < 1).any() or (numbers >= len(chemical_symbols)).any():
            raise ValueError(f"`atoms` must be made of known elements, got atomic numbers {sorted(set(numbers.tolist()))}")
        if not np.isfinite(positions).all():
            raise ValueError("`atoms` must have finite positions, got NaN or infinity: check how they were made")
        if len(atoms) > 1 and (closest := float(pdist(positions).min())) < CLOSEST:
            raise ValueError(
                f"`atoms` must be at least {CLOSEST} bohr apart, got {closest:.3g} bohr: "
                "remove the duplicate atom, or check that positions are in angstrom"
            )
        total = _charge(atoms, charge)
        unpaired = _spin(int(numbers.sum()) - total, total, stated_spin(atoms, spin))
        vector = np.zeros(3) if field is None else np.array(field, dtype=np.float64)
        if vector.shape != (3,) or not np.isfinite(vector).all():
            raise ValueError(f"`field` must be three finite numbers in hartree/(e bohr), got {field!r}")
        name = method.strip().lower()
        if not all(name.partition("/")):
            raise ValueError(f"`method` must be 'xc/basis', for example 'pbe/def2-svp' or 'hf/def2-svp', got {method!r}")
        return cls(numbers, positions, total, unpaired, name, vector, bool(density_fit), bool(polarizability))

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
        }
        return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()

    def path(self, folder: Path) -> Path:
        """The file in `folder` that holds, or would hold, the answer."""
        return folder / f"{Atoms(numbers=self.numbers).symbols}-{self.key}.h5"


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
