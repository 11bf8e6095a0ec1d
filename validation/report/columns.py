"""What the tables of a comparison show: one list for the terminal and the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cgdft.units import angstrom

if TYPE_CHECKING:
    from cgdft.validation.report.score import Score


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Args:
        key: field of `Score`.
        head: two lines above the unit, in the report.
        short: the same where there is little room, in the terminal; None leaves the column out there.
        unit: as printed, of the value times `factor`.
        digits: after the point.
        about: a sentence for readers of the report.
        error: whether a larger value is worse.
    """

    key: str
    head: tuple[str, str]
    short: tuple[str, str] | None
    unit: str
    digits: int
    about: str
    factor: float = 1.0
    error: bool = True

    def value(self, score: Score) -> float | None:
        """The number in the printed unit."""
        value: float | None = getattr(score, self.key)
        return None if value is None else value * self.factor

    def text(self, score: Score) -> str:
        """The number as printed; "-" where there is none."""
        value = self.value(score)
        return "-" if value is None else f"{value:.{self.digits}f}"

    def merit(self, score: Score) -> float | None:
        """The error by which models are ranked: None for a model without response, which only says zero."""
        if self.key == "polarizability_error" and score.polarizability == 0.0:
            return None
        if self.key == "response_error" and score.response_range is None:
            return None
        return self.value(score)

    def visible(self, score: Score) -> bool:
        """Whether the printed number is not zero."""
        return abs(self.value(score) or 0.0) >= 0.5 * 10.0**-self.digits

    @property
    def title(self) -> str:
        """The head as one line."""
        return " ".join(self.head)


COLUMNS = (
    Column(
        "charges_rms",
        ("charges", "rms"),
        ("charge", "rms"),
        "e",
        3,
        "root mean square over the atoms of the difference between the model's charge and the reference's",
    ),
    Column("charges_max", ("charges", "max"), None, "e", 3, "the largest of these differences"),
    Column(
        "dipoles_rms",
        ("dipoles", "rms"),
        ("dipole", "rms"),
        "e bohr",
        3,
        "root mean square over the atoms of the length of the difference between the model's atomic dipole and the "
        "reference's; a model without atomic dipoles counts as zero",
    ),
    Column(
        "dipole_error",
        ("mol. dip.", "|dD|"),
        ("D", "error"),
        "e bohr",
        3,
        "length of the error of the molecule's dipole vector D",
    ),
    Column(
        "quadrupole_error",
        ("mol. quad.", "|dTheta|"),
        ("Theta", "error"),
        "e bohr^2",
        3,
        "Frobenius norm of the error of the traceless quadrupole tensor Theta, about the centre of nuclear charge",
    ),
    Column(
        "potential_inner",
        ("potential", "inner"),
        ("V", "inner"),
        "%",
        1,
        "rms(V - V_ref) / rms(V_ref) on surfaces at 1.4 to 2 van der Waals radii, where the next molecule's atoms are",
        factor=100.0,
    ),
    Column(
        "potential_outer",
        ("potential", "outer"),
        ("V", "outer"),
        "%",
        1,
        "the same at 2.25 to 3 van der Waals radii",
        factor=100.0,
    ),
    Column(
        "polarizability",
        ("polariz.", "trace/3"),
        ("alpha", "mean"),
        "bohr^3",
        1,
        "isotropic polarizability, a value and not an error",
        error=False,
    ),
    Column(
        "polarizability_error",
        ("polariz.", "error"),
        ("alpha", "error"),
        "%",
        1,
        "Frobenius norm of the error of the polarizability tensor, relative to that of the reference's tensor",
        factor=100.0,
    ),
    Column(
        "response_error",
        ("response", "error"),
        None,
        "%",
        1,
        "Frobenius norm of the error of the susceptibility of charges dq_i/dv_j, relative to that of the reference's",
        factor=100.0,
    ),
    Column(
        "response_range",
        ("range of", "response"),
        None,
        "angstrom",
        2,
        "mean distance between atoms weighted by |dq_i/dv_j|: how far charge goes; a value and not an error",
        factor=1 / angstrom,
        error=False,
    ),
    Column(
        "hardness",
        ("hardness", "dmu/dN"),
        ("eta", "dmu/dN"),
        "hartree/e^2",
        3,
        "the model's d2E/dN2 of the whole molecule, a value and not an error; the reference's would need its ions",
        error=False,
    ),
)

LEGEND = (
    "Charges and dipoles of atoms are compared with the reference's; D, Theta: dipole and quadrupole of the molecule; V: "
    "potential on 1.4-2 (inner) and 2.25-3 (outer) van der Waals radii, without superposed neutral atoms; alpha: "
    "polarizability, a third of its trace and the error of the tensor; eta: the model's hardness. The row `reference` "
    "has the size of each quantity: the error of a model that says zero."
)
