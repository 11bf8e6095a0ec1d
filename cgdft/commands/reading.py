"""What ASE leaves out of files: molecules of an SDF file after the first and formal charges, charges of sites in CIF."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms
    from ase.io.cif import CIFBlock

#: By so much charges in CIF files, which have two digits at least, are rounded, e.
DIGITS = 5e-3


def read(file: str, index: str) -> list[Atoms]:
    """Structures of any file that ASE reads."""
    from ase.io import read
    from ase.utils import string2index

    own: Callable[[str], list[Callable[[], Atoms]]] | None = WAYS.get(Path(file).suffix.lower())
    if own is None:
        found = read(file, index=index)
        return found if isinstance(found, list) else [found]
    parts, which = own(file), string2index(index)
    return [part() for part in (parts[which] if isinstance(which, slice) else [parts[int(which)]])]


def molecules(file: str) -> list[Callable[[], Atoms]]:
    """Of an SDF or MOL file, with formal charges."""
    kind = Path(file).suffix.lower()[1:]
    parts = [part for part in Path(file).read_text().split("$$$$\n") if part.strip()]
    return [partial(_molecule, part, kind) for part in parts]


def _molecule(part: str, kind: str) -> Atoms:
    from ase.io import read

    atoms: Any = read(io.StringIO(part), format=kind)
    if charges := _formal_charges(part, len(atoms)):
        atoms.info.setdefault("charge", float(sum(charges)))
    return atoms


def _formal_charges(record: str, n: int) -> list[int]:
    """Those that a record of n atoms states: by its lines M  CHG, else by codes in the lines of atoms."""
    lines = record.splitlines()
    rows = [line.split()[3:] for line in lines if line.startswith("M  CHG")]
    if rows:
        return [int(charge) for row in rows for charge in row[1::2]]
    codes = [line[36:39].strip() for line in lines[4 : 4 + n]]
    return [4 - int(code) for code in codes if code.isdigit() and int(code) not in (0, 4)]


def crystals(file: str) -> list[Callable[[], Atoms]]:
    """Of a CIF file, with the charges of its sites as initial charges; symmetry operations need no name of a space group."""
    from ase.io.cif import parse_cif

    return [partial(_crystal, block) for block in parse_cif(file) if block.has_structure()]


def _crystal(block: CIFBlock) -> Atoms:
    from ase.io.cif import CIFBlock
    from ase.spacegroup.spacegroup import SpacegroupValueError

    try:
        atoms = block.get_atoms()
    except SpacegroupValueError:  # operations without a name
        atoms = CIFBlock(block.name, {**block, "_symmetry_space_group_name_h-m": "P 1"}).get_atoms()
    charges, kinds = block.get("_atom_site_charge"), atoms.arrays.get("spacegroup_kinds")
    if isinstance(charges, list) and kinds is not None and all(isinstance(one, int | float) for one in charges):
        atoms.set_initial_charges(_whole(np.array([float(charges[kind]) for kind in kinds])))
    return atoms


def _whole(charges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Charges that add up to a whole number, where only their digits keep them from it."""
    off = charges.sum() - round(charges.sum())
    return charges - off / len(charges) if abs(off) < DIGITS * len(charges) else charges


#: How files are read that ASE reads in part, by their ending.
WAYS = {".sdf": molecules, ".mol": molecules, ".cif": crystals}
