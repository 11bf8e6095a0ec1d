"""Total charge and spin of ASE Atoms, from the three places where they may be said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms


#: From a whole number, what the sum of charges may be away by their digits: for each atom, at least, at most.
ROUNDED = 1e-3, 0.01, 0.05


def stated_charge(atoms: Atoms, charge: float | None) -> float | None:
    """Total charge, e: `charge`, else "charge" or "total_charge" in `atoms.info`, else the sum of initial charges, else None.

    Initial charges and moments are where a calculation begins, and give way to what is told as an argument.

    Raises:
        ValueError: two of them disagree, or one is no number.
    """
    return _agreed("charge", charge, atoms, ("charge", "total_charge"), "initial_charges")


def stated_spin(atoms: Atoms, spin: float | None) -> float | None:
    """Unpaired electrons: `spin`, else `atoms.info["spin"]`, else the size of the sum of initial magnetic moments, else None.

    Raises:
        ValueError: two of them disagree, or one is no number.
    """
    return _agreed("spin", spin, atoms, ("spin",), "initial_magmoms")


def check_parity(atoms: Atoms, charge: float, spin: float) -> None:
    """Raise a ValueError of whole numbers of unpaired electrons that the number of electrons does not allow."""
    electrons = int(atoms.numbers.sum()) - charge
    if spin == round(spin) and electrons == round(electrons) and (electrons - spin) % 2:
        raise ValueError(
            f"`spin` must be the number of unpaired electrons, which {electrons:g} electrons cannot have, got {spin:g}; of a "
            "multiplicity give one less"
        )


def _agreed(name: str, argument: float | None, atoms: Atoms, keys: tuple[str, ...], initial: str) -> float | None:
    given = {f"`{name}`": argument, **{f"atoms.info[{key!r}]": atoms.info.get(key) for key in keys}}
    if argument is None and initial in atoms.arrays:
        total = atoms.arrays[initial].sum(0)
        each, least, most = ROUNDED
        rounding = min(most, max(least, each * len(atoms)))
        size = float(total if initial == "initial_charges" else np.linalg.norm(total))
        given[f"the sum of the {initial.replace('_', ' ')}"] = round(size) if abs(size - round(size)) < rounding else size
    values: dict[str, float] = {}
    for source, value in given.items():
        if value is not None:
            try:
                values[source] = float(value)
            except (TypeError, ValueError):
                raise ValueError(f"{source} must be a number, got {value!r}") from None
    if not values:
        return None
    if max(values.values()) - min(values.values()) > 1e-6:
        told = ", ".join(f"{source} = {value:g}" for source, value in values.items())
        raise ValueError(f"`{name}` must be one number, got {told}; remove all but one")
    return next(iter(values.values()))
