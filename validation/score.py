"""What one model gets right and wrong about one molecule, in numbers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cgdft.validation.reference import Reference

if TYPE_CHECKING:
    from cgdft.model import Model
    from cgdft.solution import Solution

#: A potential whose rms is smaller, hartree/e, is that of nothing but neutral spherical atoms: no error relative to it.
NO_POTENTIAL = 1e-6


@dataclass(frozen=True, eq=False)
class Score:
    """How one model does on one molecule. Hartree atomic units; numbers are None where they do not exist.

    | field | unit | meaning |
    | --- | --- | --- |
    | charges_rms, charges_max | e | of q_i - q_i(Hirshfeld) over the atoms |
    | dipoles_rms, dipoles_max | e bohr | of the length of d_i - d_i(Hirshfeld); a model without dipoles has d_i = 0 |
    | dipole_error | e bohr | length of D - D(reference) |
    | quadrupole_error | e bohr^2 | Frobenius norm of Theta - Theta(reference), about the centre of nuclear charge |
    | potential_inner, potential_outer | - | rms(V - V_ref)/rms(V_ref) on 1.4-2 and 2.25-3 van der Waals radii |
    | full_potential_inner, full_potential_outer | - | the same against the potential with neutral atoms |
    | polarizability | bohr^3 | trace/3 |
    | polarizability_error | - | norm of alpha - alpha(reference), over that of alpha(reference) (Frobenius) |
    | chemical_potential, hardness | hartree, hartree/e^2 | mu = dE/dN and dmu/dN of the model |

    V_ref is the potential of the difference density, `Reference.potential_difference`. `reason` says why a model
    failed; `solution` is what it returned.
    """

    model: str
    molecule: str
    charges_rms: float | None = None
    charges_max: float | None = None
    dipoles_rms: float | None = None
    dipoles_max: float | None = None
    dipole_error: float | None = None
    quadrupole_error: float | None = None
    potential_inner: float | None = None
    potential_outer: float | None = None
    full_potential_inner: float | None = None
    full_potential_outer: float | None = None
    polarizability: float | None = None
    polarizability_error: float | None = None
    chemical_potential: float | None = None
    hardness: float | None = None
    reason: str = ""
    solution: Solution | None = field(default=None, repr=False)

    def numbers(self) -> dict[str, float | None]:
        """All numbers by name, those that the printed table leaves out included."""
        names = [entry.name for entry in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names if name not in ("model", "molecule", "reason", "solution")}

    def to_dict(self) -> dict[str, Any]:
        """The numbers, with the model's charges and what it is made of; or the reason of its failure."""
        if self.solution is None:
            return {"failed": self.reason}
        return {
            **self.numbers(),
            "charges": self.solution.charges.detach().tolist(),
            "dipole": self.solution.dipole[0].detach().tolist(),
            "description": repr(self.solution.model),
            "references": list(self.solution.model.references),
            "solver": repr(self.solution.solver),
        }


def scale(molecule: str, reference: Reference) -> Score:
    """The size of what is compared: the errors of a model that says zero, and the reference's polarizability."""
    charges, dipoles = reference.multipoles[:, 0], np.linalg.norm(reference.multipoles[:, 1:4], axis=1)
    alpha = reference.polarizability
    centre = _centre(reference)
    return Score(
        "reference",
        molecule,
        charges_rms=_rms(charges),
        charges_max=float(np.abs(charges).max()),
        dipoles_rms=_rms(dipoles),
        dipoles_max=float(dipoles.max()),
        dipole_error=float(np.linalg.norm(reference.dipole)),
        quadrupole_error=float(np.linalg.norm(_moved(reference.charge, reference.dipole, reference.quadrupole, centre))),
        polarizability=None if alpha is None else float(np.trace(alpha)) / 3,
    )


def score_of(name: str, molecule: str, model: Model | Exception, reference: Reference) -> Score:
    """The score of a model, or with the reason where it fails or is itself the failure to make one."""
    try:
        if isinstance(model, Exception):
            raise model
        score = _computed(name, molecule, model, reference)
        bad = [what for what, value in score.numbers().items() if value is not None and not np.isfinite(value)]
        if bad:
            raise ArithmeticError(f"{', '.join(bad)} not finite")
    except Exception as error:  # as above
        return Score(name, molecule, reason=f"{type(error).__name__}: {error}")
    return score


def _computed(name: str, molecule: str, model: Model, reference: Reference) -> Score:
    import torch

    from cgdft.functionals import UniformField

    if reference.field.any():
        model = model + UniformField(torch.from_numpy(reference.field))
    with torch.no_grad():
        solution = model(reference.structure())
        charges, dipoles = solution.charges.numpy(), solution.dipoles.numpy()
        dipole, theta = solution.dipole[0].numpy(), solution.quadrupole[0].numpy()
        potential = solution.density.potential(torch.from_numpy(reference.points)).numpy()
        alpha = solution.polarizability()[0].numpy()
        mu, eta = _charging(solution)
    charge_errors = charges - reference.multipoles[:, 0]
    dipole_errors = np.linalg.norm(dipoles - reference.multipoles[:, 1:4], axis=1)
    difference = float(charges.sum()) - reference.charge, dipole - reference.dipole, theta - reference.quadrupole
    exact = reference.polarizability
    inner, outer = reference.shell == 0, reference.shell == 1
    return Score(
        name,
        molecule,
        charges_rms=_rms(charge_errors),
        charges_max=float(np.abs(charge_errors).max()),
        dipoles_rms=_rms(dipole_errors),
        dipoles_max=float(dipole_errors.max()),
        dipole_error=float(np.linalg.norm(difference[1])),
        quadrupole_error=float(np.linalg.norm(_moved(*difference, _centre(reference)))),
        potential_inner=_relative(potential[inner], reference.potential_difference[inner]),
        potential_outer=_relative(potential[outer], reference.potential_difference[outer]),
        full_potential_inner=_relative(potential[inner], reference.potential[inner]),
        full_potential_outer=_relative(potential[outer], reference.potential[outer]),
        polarizability=float(np.trace(alpha)) / 3,
        polarizability_error=None
        if exact is None
        else float(np.linalg.norm(alpha - exact) / max(float(np.linalg.norm(exact)), 1e-300)),
        chemical_potential=mu,
        hardness=eta,
        solution=solution,
    )


def _charging(solution: Solution) -> tuple[float | None, float | None]:
    """mu and dmu/dN, None for a model whose total charge cannot change."""
    if "total" not in solution.potentials:
        return None, None
    held = "total" in [row.name for row in solution.problem.held]
    return float(solution.chemical_potential[0]), None if held else float(solution.hardness()[0])


def _centre(reference: Reference) -> NDArray[np.float64]:
    """Centre of nuclear charge (3,) in bohr: a quadrupole about it does not depend on where the molecule is."""
    centre: NDArray[np.float64] = reference.numbers @ reference.positions / reference.numbers.sum()
    return centre


def _moved(
    charge: float, dipole: NDArray[np.float64], quadrupole: NDArray[np.float64], centre: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Traceless quadrupole (3, 3) about `centre` of moments about the origin: r -> r - c in 3/2 (rr - r^2 1/3)."""
    second = charge * np.outer(centre, centre) - np.outer(centre, dipole) - np.outer(dipole, centre)
    moved: NDArray[np.float64] = quadrupole + 1.5 * second - 0.5 * np.trace(second) * np.eye(3)
    return moved


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _relative(potential: NDArray[np.float64], exact: NDArray[np.float64]) -> float | None:
    size = _rms(exact)
    return _rms(potential - exact) / size if size > NO_POTENTIAL else None
