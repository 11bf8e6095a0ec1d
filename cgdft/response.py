"""Derivatives of the minimum, all by one mechanism.

A solver leaves a stationary point z = (x, lambda) of the Lagrangian L without a graph. Steps of the chord Newton method

    z <- z - K^-1 dL/dz,    K the Hessian of L at the solution, frozen

do not change its value, since dL/dz = 0, but each makes one more order of its derivatives by everything in L exact. v -> K^-1 v
is symmetric, so it is its own adjoint: one autograd function serves every solver. With L itself as the energy the first
derivatives need no step and the second ones need one (the 2n + 1 theorem).
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


class _SaddlePointInverse(torch.autograd.Function):
    """v -> K^-1 v, its own adjoint."""

    @staticmethod
    def forward(ctx: Any, inverse: Inverse, rx: Tensor, rl: Tensor) -> tuple[Tensor, Tensor]:
        ctx.inverse = inverse
        with torch.no_grad():
            return inverse(rx, rl)

    @staticmethod
    def backward(ctx: Any, gx: Tensor, gl: Tensor) -> tuple[None, Tensor, Tensor]:
        return None, *_SaddlePointInverse.apply(ctx.inverse, gx, gl)  # type: ignore[no-untyped-call]


@dataclass(frozen=True, eq=False)
class Probe:
    """Small changes, zero in value, by which observables are derivatives of the Lagrangian.

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
        lagrangian: (n_structures,), hartree.
        work: of the batteries, (n_structures,), hartree.
    """

    problem: Problem
    probe: Probe
    density: Density
    multipliers: Float[Tensor, "n_structures n_rows"]
    lagrangian: Float[Tensor, " n_structures"]
    work: Float[Tensor, " n_structures"]
    x: Float[Tensor, " n_x"]


def respond(
    model: Model,
    structure: Structure,
    x: Tensor,
    multipliers: Tensor,
    inverse: Inverse,
    order: int,
    by: tuple[str, ...] = (),
) -> Response:
    """Attach the graph to a stationary point: density and multipliers with derivatives exact to `order`, L to one more.

    Args:
        x, multipliers: the stationary point, without a graph.
        inverse: K^-1 there.
        order: chord Newton steps.
        by: names of the probe's changes to differentiate by.
    """
    with torch.enable_grad():
        probe = Probe.zero(structure, model.basis.size, multipliers.shape[1], by)
        moved = structure.deformed(probe.displacement, probe.strain) if {"displacement", "strain"} & {*by} else structure
        problem = model.problem(moved)

        def lagrangian(x: Tensor, multipliers: Tensor) -> Tensor:
            rho = problem.density(x)
            total = problem.lagrangian(x, multipliers) + (multipliers * probe.charge).sum(1)
            if "field" in by:
                total = total - (probe.field[:, None] @ moved.open_projector @ rho.dipole[:, :, None])[:, 0, 0]
            if "potential" in by:
                total = total + moved.total((probe.potential * rho.coefficients).sum(1))
            return total

        if order:
            x, multipliers = x.detach().requires_grad_(), multipliers.detach().requires_grad_()
        for _ in range(order):
            slope = torch.autograd.grad(
                lagrangian(x, multipliers).sum(),
                (x, multipliers),
                create_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            dx, dl = _SaddlePointInverse.apply(inverse, *slope)  # type: ignore[no-untyped-call]
            x, multipliers = x - dx, multipliers - dl
        rho = problem.density(x)
        return Response(problem, probe, rho, multipliers, lagrangian(x, multipliers), problem.work(rho), x)
