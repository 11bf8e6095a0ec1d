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

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cgdft.derivatives.counted import counted
from cgdft.derivatives.observables import Observables
from cgdft.derivatives.probe import Probe, made
from cgdft.solver import Inverse

if TYPE_CHECKING:
    from cgdft.problems.problem import Problem


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


def respond(
    problem: Problem,
    probe: Probe,
    x: Tensor,
    multipliers: Tensor,
    linearised: tuple[Inverse, Inverse],
    order: int,
    economical: bool = False,
    by: Sequence[Tensor] = (),
) -> Observables:
    """Attach the graph to a solution: density and multipliers with derivatives exact to `order`, a Lagrangian to 2 `order` + 1.

    Args:
        problem: with a graph to what is to be differentiated by, the probe's displacement and strain among it.
        probe: the changes, zero, with a gradient where they are to be differentiated by.
        x, multipliers: the solution, without a graph.
        linearised: K^-1 and K^-T there.
        order: chord Newton steps.
        economical: whether 2 `order` derivatives of the energy are enough, in place of 2 `order` + 1.
        by: what more may be differentiated by; higher derivatives by these, and by the probe, raise.
    """
    with torch.enable_grad():
        if order:
            x, multipliers = made(x.detach().requires_grad_()), made(multipliers.detach().requires_grad_())
        value = None
        for _ in range(min(order, 1) if problem.closed_form else order):
            r = problem.residual(x, multipliers, probe)
            dx, dl = _InverseOfJacobian.apply(*linearised, r.x, r.multipliers)  # type: ignore[no-untyped-call]
            if economical and r.lagrangian is not None:
                half_x, half_l = _HalfProduct.apply(r.x, dx), _HalfProduct.apply(r.multipliers, dl)  # type: ignore[no-untyped-call]
                value = r.lagrangian.index_add(0, problem.index, half_x, alpha=-1) - half_l.sum(1)
            x, multipliers = x - dx, multipliers - dl
        if value is None:
            value = problem.value(x, multipliers, probe)
        if by:
            by = [one for one in (*by, *vars(probe).values()) if one.requires_grad]
            value = counted(value, order if problem.orders_behind else 2 * order + (not economical), by)
            x, multipliers = counted(x, order, by), counted(multipliers, order, by)
        rho = problem.density(x)
        return Observables(problem, probe, rho, multipliers, value, problem.work(rho), x)
