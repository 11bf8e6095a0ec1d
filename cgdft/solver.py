"""What a solver is: it finds the solution of a problem, and solves the linearised problem there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from cgdft.checks.declared import check_declared, check_quadratic
from cgdft.problems.minimisation import Minimisation

if TYPE_CHECKING:
    from cgdft.problems.problem import Problem

#: K^-1 of the saddle-point operator K = [[H, -C^T], [-C, 0]]: (r_x, r_lambda) -> (dx, dlambda).
Inverse = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
#: What settings must be: see `check_settings`.
SETTINGS: dict[str, tuple[type, Callable[[Any], bool], str]] = {
    "tolerance": (Real, lambda value: 0 < value < 1, "between 0 and 1"),
    "max_iterations": (Integral, lambda value: value >= 0, "a whole number, zero or more"),
    "mixing": (Real, lambda value: value > 0, "greater than zero"),
    "history": (Integral, lambda value: value >= 0, "a whole number, zero or more"),
}
#: What a user's solver may leave of the gradient of a cold start where it says to have converged, and of K v in K^-1 (K v).
LEFT = 1e-3
#: Of a projection, relative to the norm of what is projected.
ROUNDING = 2e-15
#: What earlier answers leave of a right-hand side, relative to the largest.
NOISE = 1e-13


class Status(Enum):
    """How a solve ended; the value says what it means and what to try."""

    CONVERGED = "converged to a minimum"
    NOT_CONVERGED = (
        "not converged within max_iterations; allow more, or choose another solver; where the gradient of a term is not that "
        "of its energy, or it has a kink there, nothing helps, see cgdft.check_term"
    )
    STUCK = (
        "no lower energy along the gradient: energy and gradient disagree (in-place or numpy operations, kinks, float32); see "
        "cgdft.check_term"
    )
    DIVERGED = "diverged; reduce the mixing, or choose another solver: for functionals Newton()"
    UNBOUNDED = (
        "the energy has no minimum (negative curvature, as in a polarization catastrophe: hardness or inverse polarizability "
        "too small for the widths and distances, in bohr); raise them or keep the self-interaction of Hartree, and bound terms "
        "that fall without end"
    )
    UNMET = (
        "no potential was found at which the response law has the charges asked for: it keeps its own, or they are out of its "
        "bounds or near to them; ask for others, or leave them to it with constraints=[]"
    )
    SADDLE = (
        "a stationary point that is not a minimum; choose Newton(), which leaves saddle points; a response law is too soft "
        "for the widths and distances, unless Hartree keeps its self-interaction"
    )


class SolverError(RuntimeError):
    """A solve that did not end in a minimum; `status` of each structure, `history` of the residual norms."""

    def __init__(self, message: str, status: list[Status], history: Tensor) -> None:
        super().__init__(message)
        self.status, self.history = status, history


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where a solver ended.

    Attributes:
        x: (n_x,).
        multipliers: (n_structures, n_rows), hartree / e.
        status: of each structure.
        history: norm of the residual at the start and after each iteration of the solver's own kind,
            (iterations + 1, n_structures): of the projected gradient, hartree / e, where the solver says nothing else.
    """

    x: Float[Tensor, " n_x"]
    multipliers: Float[Tensor, "n_structures n_rows"]
    status: list[Status]
    history: Float[Tensor, "n_iterations n_structures"]

    @property
    def iterations(self) -> int:
        """How many."""
        return len(self.history) - 1


def check_settings(solver: Any) -> None:
    """Raise a ValueError where one of the usual settings of a solver makes no sense."""
    for name in SETTINGS.keys() & vars(solver).keys():
        (kind, allowed, told), value = SETTINGS[name], getattr(solver, name)
        if not (isinstance(value, kind) and allowed(value)):
            raise ValueError(f"`{name}` must be {told}, got {value!r}")


class Solver(ABC):
    """Settings in the constructor; the problem in the call. Everything runs without a graph.

    Attributes:
        solves: the kind of problem.
        residual_unit: of the history of its minima.
    """

    solves: ClassVar[type[Problem]] = Minimisation
    residual_unit: ClassVar[str] = "hartree/e"

    @abstractmethod
    def minimise(self, problem: Any, start: Tensor | None = None) -> Minimum:
        """The solution of a problem of the kind that it `solves`, from `start` (n_x,) where one is known.

        Raises:
            ValueError: a problem that this solver cannot solve, such as one that is not quadratic.
        """

    def linearise(self, problem: Minimisation, x: Tensor) -> Inverse:
        """v -> K^-1 v at x; by conjugate gradients where a solver has no better way.

        Raises:
            SolverError: at the call of the result, a linear problem that was not solved; a wrong derivative never returns.
        """
        from cgdft.solvers import CG

        return CG().linearise(problem, x)


def verified(problem: Minimisation, x: Tensor, inverse: Inverse, solver: Solver) -> Inverse:
    """The K^-1 of a user's solver, of which each answer is put into K = [[H, -C^T], [-C, 0]]; a ValueError where it is none."""
    rows, product, slope = problem.rows, problem.curvature(x), problem.slope(x)
    largest = problem.structure.total((slope * slope).sum(1)).sqrt()

    def norm(v: Tensor) -> Tensor:
        return rows.dot(v, v).sqrt()

    def answer(rx: Tensor, rl: Tensor) -> tuple[Tensor, Tensor]:
        found, needed, got = inverse(rx, rl), [tuple(rx.shape), tuple(rl.shape)], None
        if isinstance(found, tuple | list):
            got = [tuple(one.shape) for one in found if isinstance(one, Tensor)]
        if got != needed:
            raise ValueError(
                f"`linearise` of the solver must give (dx, dlambda), tensors of shapes {needed[0]} and {needed[1]}, got "
                f"{type(found).__name__ if got is None else got} of {solver!r}; see cgdft.check_solver"
            )
        dx, dl = found
        bent, wanted = product(dx), torch.where(rows.active, rl, 0.0)
        pulled, moved = rows.forces(torch.where(rows.active, dl, 0.0)), rows.charges(dx)
        nonlocal largest
        largest = torch.maximum(largest, norm(rx))
        off = norm(bent - pulled - rx), (moved + wanted).norm(dim=1)
        most = LEFT * (norm(rx) + norm(bent)) + 10 * NOISE * largest, LEFT * wanted.norm(dim=1) + 1e-8 * norm(dx)
        if not all((one <= bound).all() for one, bound in zip(off, most, strict=True)):
            raise ValueError(
                f"`linearise` of the solver must give (dx, dlambda) = K^-1 (r_x, r_lambda) with K = [[H, -C^T], [-C, 0]], got "
                f"K (dx, dlambda) off by {float(off[0].max()):.1e} and {float(off[1].max()):.1e}, (r_x, r_lambda) being of "
                f"{float(norm(rx).max()):.1e} and {float(wanted.norm(dim=1).max()):.1e}, of {solver!r}; see cgdft.check_solver"
            )
        return dx, dl

    return answer


def saddle_point_inverse(
    problem: Minimisation, x: Tensor, tangent_solve: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Inverse:
    """K^-1 from `tangent_solve`: (b, floor, noise) -> y with C y = 0 and P H y = b for b in the tangent space.

    Below `floor`, (n_structures,), the norm of a residual is rounding of what b is the projection of. Up to `noise` it may be
    rounding of the slopes that cancel at x, or of earlier right-hand sides: where nothing responds to it, no reason to fail.

    dx = dx_c + y with -C dx_c = r_lambda, P H y = P (r_x - H dx_c), and C^T dlambda = H dx - r_x.
    """
    rows, product, structure = problem.rows, problem.curvature(x), problem.structure
    slope = problem.slope(x)
    largest = structure.total((slope * slope).sum(1)).sqrt()

    def inverse(rx: Tensor, rl: Tensor) -> tuple[Tensor, Tensor]:
        rl = torch.where(rows.active, rl, 0.0)
        along = rows.particular(-rl)
        inward = product(along) if bool((rl != 0).any()) else torch.zeros_like(rx)
        whole = rx - inward
        nonlocal largest
        largest = torch.maximum(largest, rows.dot(whole, whole).sqrt())
        dx = along + tangent_solve(rows.project(whole), ROUNDING * rows.dot(whole, whole).sqrt(), NOISE * largest)
        dl = rows.multipliers(product(dx) - rx) if len(rows) else rl
        return dx, dl

    return inverse


def norm_scale(problem: Minimisation, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Norm of the projected gradient of each structure and the rounding floor below which it means nothing."""
    rows = problem.rows
    full = rows.dot(gradient, gradient).sqrt()
    projected = rows.tangent(gradient)
    return rows.dot(projected, projected).sqrt(), 1e-15 + ROUNDING * full


def require_quadratic(problem: Minimisation, solver: Solver) -> None:
    """Raise a ValueError that names the first term that is not quadratic."""
    for term in problem.functional:
        if not term.quadratic:
            raise ValueError(
                f"`solver` must be able to solve the functional, got {type(solver).__name__}() with '{term.name}', "
                f"which is not quadratic; use Newton()"
            )


def require_stationary(problem: Minimisation, x: Tensor, met: Tensor) -> None:
    """Raise a ValueError where a quadratic energy was minimised and the gradient does not vanish: `met`, (n_structures,)."""
    if not met.all():
        from cgdft.checks.stated import check_terms

        check_declared(problem, x)
        check_terms(problem, x)
        check_quadratic(problem, x)
        names = ", ".join(term.name for term in problem.functional)
        raise ValueError(
            f"terms declared quadratic must be so, but the gradient does not vanish at the solution: one of {names} is not, or "
            "hardnesses and stiffnesses are too unlike for numbers of 16 digits; see cgdft.check_term, or take CG() or Newton()"
        )


def beginning(problem: Minimisation, start: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """x to begin with, the gradient there, and the norm of the projected gradient of a cold start, which sets the scale."""
    rows = problem.rows
    x = rows.particular(rows.target)
    gradient = problem.gradient(x)
    scale, _ = norm_scale(problem, gradient)
    if start is not None:
        x = x + rows.project(start - x)
        gradient = problem.gradient(x)
    return x, gradient, scale
