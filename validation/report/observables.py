"""What models are asked for in a report, and how errors of it are told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cgdft.units import debye
from cgdft.validation.report.columns import COLUMNS, Column


def two_digits(value: float) -> str:
    """A positive number in two digits, never as a power of ten: 0.17, 31, 160."""
    if value < 1e-4:
        return "less than 0.0001"
    digits = 1 - int(np.floor(np.log10(value)))
    return f"{round(value, digits):.{max(digits, 0)}f}"


@dataclass(frozen=True)
class Observable:
    """What a model is asked for.

    Args:
        key: field of `Score` with its error.
        title: of the subsection.
        name: in a sentence.
        error: what the number is.
    """

    key: str
    title: str
    name: str
    error: str

    @property
    def column(self) -> Column:
        """How the tables show it."""
        return next(one for one in COLUMNS if one.key == self.key)

    def text(self, value: float) -> str:
        """An error in two digits and its unit; debye beside the molecule's dipole."""
        text = f"{two_digits(value * self.column.factor)} {self.column.unit}"
        if self.key == "dipole_error":
            text += f" ({two_digits(value / debye)} D)"
        return text.replace(" ", "\u00a0")  # never a number at the end of a line and its unit on the next


OBSERVABLES = (
    Observable("charges_rms", "Charges", "charges", "error of a charge (rms over the atoms)"),
    Observable(
        "dipoles_rms", "Atomic dipoles", "atomic dipoles", "length of the error of an atomic dipole (rms over the atoms)"
    ),
    Observable("dipole_error", "Molecular dipole", "the dipole", "length of the error of the molecule's dipole"),
    Observable("potential_inner", "Potential", "the potential", "error of the potential at 1.4 to 2 van der Waals radii"),
    Observable("polarizability_error", "Polarizability", "the polarizability", "error of the polarizability tensor"),
    Observable("response_error", "Response of charges", "the response of charges", "error of the susceptibility of charges"),
)


#: Those where a model that does not respond has an error of 100 %.
RESPONSES = ("polarizability_error", "response_error")
