"""Energies of free atoms, E0, which total energies are counted from."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import product

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from cgdft.learning.data.frames import Frame
from cgdft.structure import Structure
from cgdft.units import angstrom

#: From its images in a cell, an atom that is further away than this, bohr, is free: no crystal is as wide.
APART = 7.0 * angstrom


def atomic_energies(
    frames: Iterable[Frame], given: Mapping[str, float] | None = None, method: str | None = None
) -> dict[str, float]:
    """E0 of every element of the frames, hartree: what is given, else computed, else of single atoms, else fitted.

    Args:
        frames: with energies; they are gone through once.
        given: element -> hartree.
        method: "xc/basis" of PySCF, such as that of the frames: compute the free atoms that are not given.

    Of free atoms among the frames, see `is_free_atom`, the lowest energy counts. The remaining elements get what fits the
    energies per atom of all other frames best, by least squares over their compositions; where those do not determine it,
    the smallest such numbers, with a warning. Without any energy all are zero, with a warning.

    Raises:
        ValueError: an element of which no frame has an energy.
    """
    elements: set[str] = set()
    single: dict[str, float] = {}
    totals: list[tuple[Counter[str], float]] = []
    for frame in frames:
        symbols = frame.structure.symbols
        elements.update(symbols)
        if "energy" not in frame.labels:
            continue
        energy = float(frame.labels["energy"])
        if is_free_atom(frame.structure):
            single[symbols[0]] = min(energy, single.get(symbols[0], np.inf))
        elif len(symbols) > 1 or frame.structure.pbc.any():
            totals.append((Counter(symbols), energy))
    if not (totals or single or given or method):
        warnings.warn("no frame has an energy: those of free atoms are taken to be zero", stacklevel=2)
        return dict.fromkeys(sorted(elements, key=atomic_numbers.__getitem__), 0.0)
    known = {symbol: float(energy) for symbol, energy in (given or {}).items() if symbol in elements}
    if method is not None:
        known |= free_atoms(elements - set(known), method)
    known = {**single, **known}
    known |= _fitted(sorted(elements - set(known), key=atomic_numbers.__getitem__), known, totals)
    return {symbol: known[symbol] for symbol in sorted(elements, key=atomic_numbers.__getitem__)}


def is_free_atom(structure: Structure) -> bool:
    """Whether it is one neutral atom, in a cell further than `APART` from its images."""
    if structure.n_atoms != 1 or structure.charge.any():
        return False
    vectors = structure.cell[0, structure.pbc[0]].detach().cpu().numpy()
    images = (np.array(one) @ vectors for one in product((-1, 0, 1), repeat=len(vectors)) if any(one))
    return all(np.linalg.norm(image) > APART for image in images)


def free_atoms(elements: Iterable[str], method: str) -> dict[str, float]:
    """Energies of neutral atoms in their ground states' spin by PySCF, hartree; kept on disk as `cgdft reference` does."""
    from cgdft.validation.dft.reference import reference
    from cgdft.validation.dft.request import ground_state_spin

    return {
        symbol: reference(
            Atoms(symbol),
            method,
            charge=0,
            spin=ground_state_spin(atomic_numbers[symbol]),
            polarizability=False,
        ).energy
        for symbol in sorted(elements, key=atomic_numbers.__getitem__)
    }


def _fitted(elements: list[str], known: Mapping[str, float], totals: list[tuple[Counter[str], float]]) -> dict[str, float]:
    if not elements:
        return {}
    for symbol in elements:
        if not any(symbol in composition for composition, _ in totals):
            raise ValueError(f"`frames` must have an energy with every element, got none with {symbol}; give its atomic energy")
    sizes = np.array([composition.total() for composition, _ in totals])
    counts = np.array([[composition[symbol] for symbol in elements] for composition, _ in totals]) / sizes[:, None]
    rest = [
        energy - sum(count * known.get(symbol, 0.0) for symbol, count in composition.items()) for composition, energy in totals
    ]
    found, _, rank, _ = np.linalg.lstsq(counts, np.array(rest) / sizes, rcond=1e-8)
    if rank < len(elements):
        warnings.warn(
            f"compositions do not determine the atomic energies of {', '.join(elements)} (rank {rank} of {len(elements)}): the "
            "smallest that fit are taken, which hold for these proportions of elements only; give them, or add single atoms",
            stacklevel=3,
        )
    return dict(zip(elements, found.tolist(), strict=True))
