"""What one model gets right and wrong about one molecule, in numbers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cgdft.validation.dft.reference import Reference
from cgdft.validation.exact.susceptibility import Susceptibility

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
    | charges_rms, charges_max | e | of q_i - q_i(reference) over the atoms, by the definition that is compared with |
    | dipoles_rms, dipoles_max | e bohr | of the length of d_i - d_i(reference); a model without dipoles has d_i = 0 |
    | dipole_error | e bohr | length of D - D(reference), about the centre of nuclear charge where total charges differ |
    | quadrupole_error | e bohr^2 | Frobenius norm of Theta - Theta(reference), about the centre of nuclear charge |
    | potential_inner, potential_outer | - | rms(V - V_ref)/rms(V_ref) on 1.4-2 and 2.25-3 van der Waals radii |
    | full_potential_inner, full_potential_outer | - | the same against the potential with neutral atoms |
    | polarizability | bohr^3 | trace/3 |
    | polarizability_error | - | norm of alpha - alpha(reference), over that of alpha(reference) (Frobenius) |
    | response_error | - | norm of dq_i/dv_j - that of the reference, over the latter (Frobenius) |
    | response_range | bohr | mean distance that charge goes when it responds, weighted by abs(dq_i/dv_j) |
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
    response_error: float | None = None
    response_range: float | None = None
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
            "dipole": None if self.dipole_error is None else self.solution.dipole[0].detach().tolist(),
            "description": repr(self.solution.model),
            "references": list(self.solution.model.references),
            "solver": repr(self.solution.solver),
        }


def scale(molecule: str, reference: Reference, definition: str | None = None) -> Score:
    """The size of what is compared: the errors of a model that says zero, and the reference's response.

    Dipoles and quadrupoles are about the centre of nuclear charge.
    """
    moments = labels(reference, definition)
    alpha, centre, chi = reference.polarizability, centre_of(reference), reference.susceptibility
    score = Score(
        "reference",
        molecule,
        charges_rms=_rms(moments[:, 0]),
        charges_max=float(np.abs(moments[:, 0]).max()),
        polarizability=None if alpha is None else float(np.trace(alpha)) / 3,
        response_range=None if chi is None or len(reference.numbers) < 2 else Susceptibility.of_reference(reference).range,
    )
    if moments.shape[1] > 1:
        dipoles = np.linalg.norm(moments[:, 1:4], axis=1)
        score = replace(score, dipoles_rms=_rms(dipoles), dipoles_max=float(dipoles.max()))
    if reference.dipole is not None and reference.quadrupole is not None:
        theta = moved(reference.charge, reference.dipole, reference.quadrupole, centre)
        dipole = reference.dipole - reference.charge * centre
        lengths = float(np.linalg.norm(dipole)), float(np.linalg.norm(theta))
        score = replace(score, dipole_error=lengths[0], quadrupole_error=lengths[1])
    return score


def labels(reference: Reference, definition: str | None) -> NDArray[np.float64]:
    """Multipoles (n, k) that models are compared with: by the definition of that name, or the first.

    Raises:
        ValueError: one that the reference does not have.
    """
    if definition is None:
        return reference.multipoles
    if definition not in reference.moments:
        raise ValueError(f"`definition` must be one of {', '.join(reference.moments)}, got {definition!r}")
    return reference.moments[definition]


def score_of(name: str, molecule: str, model: Model | Exception, reference: Reference, definition: str | None = None) -> Score:
    """The score of a model, or with the reason where it fails or is itself the failure to make one."""
    try:
        if isinstance(model, Exception):
            raise model
        score = _computed(name, molecule, model, reference, definition)
        bad = [what for what, value in score.numbers().items() if value is not None and not np.isfinite(value)]
        if bad:
            raise ArithmeticError(f"{', '.join(bad)} not finite")
    except Exception as error:  # a user's model: whatever it raises
        return Score(name, molecule, reason=f"{type(error).__name__}: {error}")
    return score


def _computed(name: str, molecule: str, model: Model, reference: Reference, definition: str | None) -> Score:
    import torch

    from cgdft.functionals import UniformField

    if reference.field.any():
        model = model + UniformField(torch.from_numpy(reference.field))
    moments = labels(reference, definition)
    with torch.no_grad():
        solution = model(reference.structure())
        mu, eta = _charging(solution)
    error = solution.charges.detach().numpy() - moments[:, 0]
    score = Score(
        name,
        molecule,
        charges_rms=_rms(error),
        charges_max=float(np.abs(error).max()),
        chemical_potential=mu,
        hardness=eta,
        solution=solution,
    )
    if moments.shape[1] > 1:
        lengths = np.linalg.norm(solution.dipoles.detach().numpy() - moments[:, 1:4], axis=1)
        score = replace(score, dipoles_rms=_rms(lengths), dipoles_max=float(lengths.max()))
    with torch.no_grad():
        return replace(score, **_molecular(solution, reference), **_responses(solution, reference))


def _molecular(solution: Solution, reference: Reference) -> dict[str, Any]:
    """Errors of the molecule's moments and of the potential around it; nothing for a periodic cell."""
    import torch

    if reference.dipole is None or reference.quadrupole is None:
        return {}
    dipole, theta = solution.dipole[0].numpy(), solution.quadrupole[0].numpy()
    shift = float(solution.charges.sum()) - reference.charge, dipole - reference.dipole, theta - reference.quadrupole
    found: dict[str, Any] = {
        "dipole_error": float(np.linalg.norm(shift[1] - shift[0] * centre_of(reference))),
        "quadrupole_error": float(np.linalg.norm(moved(*shift, centre_of(reference)))),
    }
    if reference.potential is not None and reference.potential_difference is not None:
        potential = solution.density.potential(torch.from_numpy(reference.points)).numpy()
        for k, shell in enumerate(("inner", "outer")):
            here = reference.shell == k
            found[f"potential_{shell}"] = _relative(potential[here], reference.potential_difference[here])
            found[f"full_potential_{shell}"] = _relative(potential[here], reference.potential[here])
    return found


def _responses(solution: Solution, reference: Reference) -> dict[str, Any]:
    """Polarizability and susceptibility; nothing for a periodic cell."""
    if reference.pbc.any():
        return {}
    alpha, exact = solution.polarizability()[0].numpy(), reference.polarizability
    found: dict[str, Any] = {"polarizability": float(np.trace(alpha)) / 3}
    if exact is not None:
        found["polarizability_error"] = float(np.linalg.norm(alpha - exact) / max(float(np.linalg.norm(exact)), 1e-300))
    if reference.susceptibility is not None and len(reference.numbers) > 1:
        mine, theirs = Susceptibility.of_solution(solution), Susceptibility.of_reference(reference)
        found["response_error"] = theirs.error(mine)
        found["response_range"] = mine.range if np.abs(mine.charges).max() > 0 else None
    return found


def _charging(solution: Solution) -> tuple[float | None, float | None]:
    """mu and dmu/dN, None for a model whose total charge cannot change."""
    if "total" not in solution.potentials:
        return None, None
    held = "total" in [row.name for row in solution.problem.held]
    return float(solution.chemical_potential[0]), None if held else float(solution.hardness()[0])


def centre_of(reference: Reference) -> NDArray[np.float64]:
    """Centre of nuclear charge (3,) in bohr: a quadrupole about it does not depend on where the molecule is."""
    centre: NDArray[np.float64] = reference.numbers @ reference.positions / reference.numbers.sum()
    return centre


def moved(
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
