"""What is known of all frames of a file without keeping them: sizes, charges, elements; and what of that is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from cgdft.learning.data.frames import Frame


class Fact(NamedTuple):
    """Of one frame: atoms, protons, charge and spin (NaN where none is stated), whether it is periodic, elements."""

    size: int
    protons: int
    charge: float
    spin: float
    periodic: bool
    elements: frozenset[int]


class Source(Protocol):
    """A file of frames that is opened for each of them, so that it can be sent to other processes.

    Attributes:
        path: of the file.
        facts: of its frames, in their order, rows of `ROW`.
        kinds: the different sets of elements of its frames.
        names: of all that its frames hold: keys of `info`, arrays, results.
        definitions: of the multipoles that it has.
        notes: what reading it has to tell.
    """

    path: Path
    facts: NDArray[np.void]
    kinds: tuple[frozenset[int], ...]
    names: frozenset[str]
    definitions: tuple[str, ...]
    notes: tuple[str, ...]

    def frame(self, k: int, definition: str | None) -> Frame:
        """Read frame k, with the multipoles of this definition."""
        ...

    def name(self, k: int) -> str:
        """By which messages call frame k."""
        ...


#: One row of `Source.facts`; `kind` is the place of its elements in `Source.kinds`.
ROW = np.dtype(
    [("size", "i4"), ("protons", "i4"), ("charge", "f8"), ("spin", "f8"), ("periodic", "?"), ("kind", "i4")], align=True
)


def table(facts: Iterable[Fact]) -> tuple[NDArray[np.void], tuple[frozenset[int], ...]]:
    """Facts as one array, and the different sets of elements."""
    kinds: dict[frozenset[int], int] = {}
    rows = ((*fact[:5], kinds.setdefault(fact.elements, len(kinds))) for fact in facts)
    return np.fromiter(rows, dtype=ROW), tuple(kinds)


@dataclass(frozen=True)
class Missing:
    """Frames whose charge or spin must be stated and is not, places in the table, and whether any frame has a charge."""

    charge: NDArray[np.int64]
    spin: NDArray[np.int64]
    charged: bool

    @classmethod
    def of(cls, facts: NDArray[np.void]) -> Missing:
        """If any frame has a charge, all must state theirs, and molecules of odd electrons their spin; else one of both."""
        unstated, charge = np.isnan(facts["charge"]), np.nan_to_num(facts["charge"])
        charged = bool((charge != 0).any())
        odd = np.isnan(facts["spin"]) & ((facts["protons"] - charge) % 2 == 1) & ~facts["periodic"] & (unstated | charged)
        return cls(np.flatnonzero(unstated & charged), np.flatnonzero(odd), charged)

    def refuse(self, name: Callable[[int], str]) -> None:
        """Raise a ValueError that says what to do, if there are any; `name` gives that of the frame at a place."""
        if len(self.charge):
            raise ValueError(
                "`charge` must be stated by every frame of a set with charged ones, got none in frame "
                f"{name(int(self.charge[0]))}; write charge= into its comment line, or pass charge=0 if frames without are "
                "neutral"
            )
        if len(self.spin) and self.charged:
            raise ValueError(
                "`spin` must be stated for odd numbers of electrons in a set with charged frames, got none in frame "
                f"{name(int(self.spin[0]))}; write spin= into its comment line, unpaired electrons: a multiplicity less one"
            )
        if len(self.spin):
            raise ValueError(
                "`charge` or `spin` must be stated for an odd number of electrons, got none in frame "
                f"{name(int(self.spin[0]))}; write charge= or spin= into its comment line, or pass charge=0 if it is a neutral "
                "radical"
            )


def symbols(kinds: Iterable[frozenset[int]]) -> tuple[str, ...]:
    """Chemical symbols in the order of atomic numbers."""
    return tuple(chemical_symbols[z] for z in sorted(frozenset[int]().union(*kinds)))
