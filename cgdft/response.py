"""Derivatives of the solution, all by one mechanism.

A solver leaves a zero z = (x, lambda) of the residual r without a graph: of r = dL/dz at a minimum with Lagrangian L, of input
less output at a fixed point. Steps of the chord Newton method

    z <- z - K^-1 r(z),    K = dr/dz at the solution, frozen

do not change its value, since r = 0, but each makes one more order of its derivatives by everything in r exact. The adjoint of
v -> K^-1 v is v -> K^-T v, at a minimum itself: one autograd function serves every solver. With L itself as the energy the
first derivatives need no step and the second ones need one (the 2n + 1 theorem); any other energy needs a step an order. L
after a step is also L - 1/2 r.K^-1 r, with one derivative less that is exact and L evaluated once less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density
from cgdft.solver import Inverse

if TYPE_CHECKING:
    from cgdft.model import Model
    from cgdft.problem import Problem
    from cgdft.structure import Structure


class _InverseOfJacobian(torch.autograd.Function):
    """v -> K^-1 v, whose adjoint is v -> K^-T v."""

    @staticmethod
    def forward(ctx: Any, inverse: Inverse, adjoint: Inverse, rx: Tensor, rl: Tensor) -> tuple[Tensor, Tensor]:
        ctx.inverse, ctx.adjoint = inverse, adjoint
        with torch.no_grad():
            return inverse(rx, rl)

    @staticmethod
    def backward(ctx: Any, gx: Tensor, gl: Tensor) -> tuple[None, None, Tensor, Tensor]:
        return None, None, *_InverseOfJacobian.apply(ctx.adjoint, ctx.inverse, gx, gl)  # type: ignore[no-untyped-call]


class _HalfProduct(torch.autograd.Function):
    """1/2 u v of u and v = M u, M symmetric: the derivative by u is v, and that by v is in it."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        return 0.5 * u * v

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.saved_tensors[0], None


@dataclass(frozen=True, eq=False)
class Probe:
    """Small changes, zero in value, by which observables are derivatives.

    Attributes:
        displacement: of the atoms, (n_atoms, 3), bohr.
        strain: of atoms and cell, (n_structures, 3, 3).
        field: uniform, (n_structures, 3), hartree / (e bohr).
        potential: conjugate to each coefficient, (n_atoms, size), hartree / e.
        charge: of each fixed row, (n_structures, n_rows), e.
    """

    displacement: Float[Tensor, "n_atoms 3"]
    strain: Float[Tensor, "n_structures 3 3"]
    field: Float[Tensor, "n_structures 3"]
    potential: Float[Tensor, "n_atoms size"]
    charge: Float[Tensor, "n_structures n_rows"]

    @classmethod
    def zero(cls, structure: Structure, size: int, n_rows: int, by: tuple[str, ...]) -> Probe:
        """All zero, with a gradient for those named in `by`."""
        n, m = structure.n_atoms, len(structure)
        shapes = {
            "displacement": (n, 3),
            "strain": (m, 3, 3),
            "field": (m, 3),
            "potential": (n, size),
            "charge": (m, n_rows),
        }
        like = structure.positions
        return cls(**{name: like.new_zeros(shape, requires_grad=name in by) for name, shape in shapes.items()})


@dataclass(frozen=True, eq=False)
class Response:
    """The solution as a differentiable function of a probe and of everything that requires a gradient.

    Attributes:
        density: at the solution.
        multipliers: (n_structures, n_rows), hartree / e.
        value: energy less the work of batteries, (n_structures,), hartree.
        work: of the batteries, (n_structures,), hartree.
    """

    problem: Problem
    probe: Probe
    density: Density
    multipliers: Float[Tensor, "n_structures n_rows"]
    value: Float[Tensor, " n_structures"]
    work: Float[Tensor, " n_structures"]
    x: Float[Tensor, " n_x"]


def forbid_inference() -> None:
    """Raise a RuntimeError within torch.inference_mode(), where derivatives would be zero or fail."""
    if torch.is_inference_mode_enabled():
        raise RuntimeError("torch.inference_mode() forbids derivatives, by which minima are found: use torch.no_grad()")


def respond(
    model: Model,
    structure: Structure,
    x: Tensor,
    multipliers: Tensor,
    linearised: tuple[Inverse, Inverse],
    order: int,
    by: tuple[str, ...] = (),
    problem: Problem | None = None,
    economical: bool = False,
) -> Response:
    """Attach the graph to a solution: density and multipliers with derivatives exact to `order`, a Lagrangian to one more.

    Args:
        x, multipliers: the solution, without a graph.
        linearised: K^-1 and K^-T there.
        order: chord Newton steps.
        by: names of the probe's changes to differentiate by.
        problem: the model's on this structure, with a graph, where there is one already and the probe does not move atoms.
        economical: whether 2 `order` derivatives of the energy are enough, in place of 2 `order` + 1.
    """
    with torch.enable_grad():
        probe = Probe.zero(structure, model.basis.size, multipliers.shape[1], by)
        if problem is None:
            moves = {"displacement", "strain"} & {*by}
            problem = model.problem(structure.deformed(probe.displacement, probe.strain) if moves else structure)

        if order:
            x, multipliers = x.detach().requires_grad_(), multipliers.detach().requires_grad_()
        value = None
        for _ in range(order):
            r = problem.residual(x, multipliers, probe)
            dx, dl = _InverseOfJacobian.apply(*linearised, r.x, r.multipliers)  # type: ignore[no-untyped-call]
            if economical and r.lagrangian is not None:
                half_x, half_l = _HalfProduct.apply(r.x, dx), _HalfProduct.apply(r.multipliers, dl)  # type: ignore[no-untyped-call]
                value = r.lagrangian.index_add(0, problem.index, half_x, alpha=-1) - half_l.sum(1)
            x, multipliers = x - dx, multipliers - dl
        rho = problem.density(x)
        if value is None:
            value = problem.value(x, multipliers, probe)
        return Response(problem, probe, rho, multipliers, value, problem.work(rho), x)
