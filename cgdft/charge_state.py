"""Total charge and spin of ASE Atoms, from the three places where they may be said."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase import Atoms


def stated_charge(atoms: Atoms, charge: float | None) -> float | None:
    """Total charge, e: `charge`, else `atoms.info["charge"]`, else the sum of the initial charges if any; None if none is said.

    Raises:
        ValueError: two of them disagree.
    """
    return _agreed("charge", charge, atoms.info.get("charge"), atoms.arrays.get("initial_charges"))


def stated_spin(atoms: Atoms, spin: float | None) -> float | None:
    """Number of unpaired electrons: `spin`, else `atoms.info["spin"]`, else the sum of the initial magnetic moments, else None.

    Raises:
        ValueError: two of them disagree.
    """
    return _agreed("spin", spin, atoms.info.get("spin"), atoms.arrays.get("initial_magmoms"))


def _agreed(name: str, argument: float | None, info: float | None, initial: object) -> float | None:
    total = None if initial is None else float(initial.sum())  # type: ignore[attr-defined]
    given = {f"`{name}`": argument, f"atoms.info['{name}']": info, f"the sum of the initial {name}s": total}
    values = {source: float(value) for source, value in given.items() if value is not None}
    if not values:
        return None
    if max(values.values()) - min(values.values()) > 1e-6:
        told = ", ".join(f"{source} = {value:g}" for source, value in values.items())
        raise ValueError(f"`{name}` must be one number, got {told}; remove all but one")
    return next(iter(values.values()))
