"""Which charges and how many unpaired electrons a model was trained on; surroundings do not know them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ase.data import chemical_symbols
from ase.formula import Formula

from cgdft.constraint import TotalSpin
from cgdft.learning.data.frames import Frame
from cgdft.model import Model
from cgdft.structure import Structure

#: "charge": least and most total charge, e; "unpaired": least and most unpaired electrons; "formulas": formula -> the least and
#: the most total charge of what is composed so, e.
ChargeStates = Mapping[str, Any]
#: Charges (e) and numbers of electrons that are the same.
ALIKE = 1e-6


def widen(seen: dict[str, Any], structure: Structure) -> None:
    """Take a single structure into what was seen."""
    charge, unpaired, formula = next(_states(structure))
    seen["charge"] = _with(charge, seen.get("charge"))
    seen["unpaired"] = _with(unpaired, seen.get("unpaired"))
    formulas = seen.setdefault("formulas", {})
    formulas[formula] = _with(charge, formulas.get(formula))


def outside(structure: Structure, seen: ChargeStates) -> Iterator[tuple[str, str]]:
    """In what structures of a batch are outside, and what there is to say."""
    low, high = seen["unpaired"]
    for s, (charge, unpaired, formula) in enumerate(_states(structure)):
        name = formula if len(structure) == 1 else f"structure {s} ({formula})"
        least, most = seen["formulas"].get(formula, seen["charge"])
        if not least - ALIKE <= charge <= most + ALIKE:
            of = f" of {formula}" if formula in seen["formulas"] else ""
            yield "charge", f"{name} has the total charge {charge:g}, in the training{of} {_between(least, most)}"
        elif not low - ALIKE <= unpaired <= high + ALIKE:
            yield "unpaired", f"{name} has unpaired electrons, {unpaired:g} or more, in the training {_between(low, high)}"


def check_spins(model: Model, frames: Iterable[Frame]) -> None:
    """Raise a ValueError of a molecule whose number of electrons cannot have its spin, where a model fixes that.

    So of radicals that state none. Of crystals half-filled bands may have any.
    """
    if not any(isinstance(one, TotalSpin) and one.spin is None and one.potential is None for one in model.constraints):
        return
    for frame in frames:
        s = frame.structure
        spin, electrons = float(s.spin), float(s.numbers.sum() - s.charge)
        if not s.pbc.any() and _whole(spin) and _whole(electrons) and round(electrons - spin) % 2:
            raise ValueError(
                f"`spin` must be a number of unpaired electrons that {electrons:g} electrons can have, got {spin:g} of frame "
                f"{frame.name}, as where none is stated; write spin= into its comment line, for {model.name} knows spins"
            )


def _whole(value: float) -> bool:
    return abs(value - round(value)) < ALIKE


def _states(structure: Structure) -> Iterator[tuple[float, float, str]]:
    """Total charge, unpaired electrons that are stated, or that an odd number of them has at least, and the formula."""
    electrons = (structure.total(structure.numbers) - structure.charge.detach()).tolist()
    numbers = structure.numbers.cpu().split(structure.counts.tolist())
    for charge, spin, left, own in zip(structure.charge.tolist(), structure.spin.tolist(), electrons, numbers, strict=True):
        elements, counts = own.unique(return_counts=True)
        composed = dict(zip([chemical_symbols[z] for z in elements.tolist()], counts.tolist(), strict=True))
        if _whole(left) and (round(left) - spin) % 2:  # which they cannot have, as where moments are those of another charge
            spin = float(round(left) % 2)
        yield charge, spin, Formula.from_dict(composed).format("hill")


def _with(value: float, range_: list[float] | None) -> list[float]:
    return [value, value] if range_ is None else [min(value, range_[0]), max(value, range_[1])]


def _between(least: float, most: float) -> str:
    return f"{least:g}" if least == most else f"{least:g} to {most:g}"
