"""Units by name: "eV/angstrom" as a multiplier to Hartree atomic units, checked against what it is the unit of."""

from __future__ import annotations

import re

from cgdft import units
from cgdft.learning.data.quantities import QUANTITIES, UNITS, parts_of

#: Value in atomic units, and powers of energy and length, e^2 being energy times length.
KNOWN = {
    "hartree": (1.0, 1.0, 0.0),
    "eV": (units.eV, 1.0, 0.0),
    "meV": (1e-3 * units.eV, 1.0, 0.0),
    "rydberg": (0.5, 1.0, 0.0),
    "kcal/mol": (units.kcal_per_mol, 1.0, 0.0),
    "kJ/mol": (units.kcal_per_mol / 4.184, 1.0, 0.0),
    "bohr": (1.0, 0.0, 1.0),
    "angstrom": (units.angstrom, 0.0, 1.0),
    "e": (1.0, 0.5, 0.5),
    "me": (1e-3, 0.5, 0.5),
    "V": (units.volt, 0.5, -0.5),
    "mV": (1e-3 * units.volt, 0.5, -0.5),
    "debye": (units.debye, 0.5, 1.5),
    "GPa": (units.eV / units.angstrom**3 / 160.2176634, 1.0, -3.0),  # 1 eV/angstrom^3 in GPa, exact by the value of e
    "kbar": (units.eV / units.angstrom**3 / 1602.176634, 1.0, -3.0),  # 1 eV/angstrom^3 in kbar, exact by the value of e
}

_FACTOR = re.compile(r"([/ *]*)(kcal/mol|kJ/mol|[A-Za-z]+)(?:\^(\d+|l))?\s*")


def multiplier(unit: str, quantity: str, order: int = 0) -> float:
    """What numbers in `unit` are multiplied by to be in atomic units.

    Args:
        unit: such as "eV", "kcal/mol", "hartree/bohr", "e angstrom^2", "debye", "e angstrom^l".
        quantity: one of `UNITS`.
        order: the l in "angstrom^l".

    Raises:
        ValueError: not a unit, or not of this quantity.
    """
    wanted = UNITS[quantity][0]
    try:
        value, *powers = _parsed(unit, order)
        fits = powers == _parsed(wanted, order)[1:]
    except (KeyError, ValueError):
        fits, value = False, 1.0
    if not fits:
        known = ", ".join(KNOWN)
        raise ValueError(f"`units` of {quantity} must be like {wanted!r}, got {unit!r}; combine {known}, with /, ^2 and ^3")
    return float(value)


def _parsed(unit: str, order: int) -> list[float]:
    """Value, and powers of energy and length."""
    found, at = [1.0, 0.0, 0.0], 0
    while at < len(unit):
        match = _FACTOR.match(unit, at)
        if match is None:
            raise ValueError(unit)
        value, energy, length = KNOWN[match[2]]
        power = order if match[3] == "l" else int(match[3] or 1)
        power = -power if "/" in match[1] else power
        found = [found[0] * value**power, found[1] + power * energy, found[2] + power * length]
        at = match.end()
    return found


#: How errors are shown, by what they are told of (see `parts_of`): a unit, and how many of it one of the package's is.
SHOWN = {
    part: (
        one.shown.replace(" angstrom^l", ("", " angstrom", " angstrom^2")[l]) + "/atom" * (name == "energy"),
        1 / multiplier(one.shown, name, l),
    )
    for name, one in QUANTITIES.items()
    for l, part in enumerate(parts_of(name))  # noqa: E741
}
