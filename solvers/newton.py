"""Inexact Newton with conjugate gradients inside and a line search outside, for functionals of any shape.

At x, with g the projected gradient, the step d solves P H d = -g only as well as it pays,
|r| <= min(1/2, sqrt(|g| / |g_0|)) |g|. Where conjugate gradients meet negative curvature, d follows it downhill. A step is
halved until the energy falls by Armijo's rule, or, where rounding hides that, the slope does; each structure of a batch has
its own step, of 1e4 e at most, and has no minimum where its energy falls by more than 1e4 hartree an atom or a coefficient
exceeds 1e4 e. A stationary point with negative curvature is left along it. Small convex problems whose Hessian is at hand are
factorised instead.

Source: R. S. Dembo, T. Steihaug, Math. Program. 26, 190 (1983); J. Nocedal, S. J. Wright, Numerical Optimization (2006),
algorithm 7.1; V. E. Shamanskii, Ukr. Math. J. 19, 118 (1967), for the kept factors; W. W. Hager, H. Zhang, SIAM J. Optim. 16,
170 (2005), for the slope where the energy is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cgdft.problems.minimisation import FALLEN, RUNAWAY, Minimisation
from cgdft.solver import Inverse, Minimum, Solver, Status, beginning, check_settings, norm_scale
from cgdft.solvers.cg import CG
from cgdft.solvers.curvature import negative_curvature
from cgdft.solvers.factors import Factors, ModeFactors, factorise
from cgdft.solvers.long_waves import precondition
from cgdft.solvers.tangent import tangent_cg

#: Up to so many coefficients a step is solved for by factorisation.
SMALL = 500
#: Below this part of the energy, a step's promise may be lost in what cancels in the energy, and the slope at its end decides.
UNCLEAR = 1e-9
#: Of the slope that a step began with, what may be left then.
LESS = 0.9
#: Factors are kept as long as a step with them takes the gradient down to this part of what it was.
KEPT = 0.1


@dataclass(frozen=True)
class Newton(Solver):
    """Inexact Newton-CG with line search; any twice differentiable functional, convex or not.

    Args:
        tolerance: of the projected gradient's norm, relative to that at the start, in each structure.
        max_iterations: Newton steps; more raise.
        inner: settings of the conjugate gradients inside, and of the linear response.
    """

    tolerance: float = 1e-12
    max_iterations: int = 200
    inner: CG = field(default_factory=CG)

    def __post_init__(self) -> None:
        check_settings(self)

    def minimise(self, problem: Minimisation, start: Tensor | None = None) -> Minimum:
        """Newton steps until the gradient vanishes at a point without negative curvature."""
        rows = problem.rows
        x, gradient, scale = beginning(problem, start)
        energy = problem.objective(x)
        lowest = energy - FALLEN * problem.structure.counts
        history = [norm_scale(problem, gradient)[0]]
        runaway = torch.zeros(problem.n, dtype=torch.bool, device=x.device)
        stuck = runaway.clone()
        factors: Factors | ModeFactors | None = None
        convex = all(term.convex for term in problem.functional)  # else old factors may lead to another minimum
        before = torch.full_like(history[0], torch.inf)
        for iteration in range(self.max_iterations + 1):
            norm, floor = norm_scale(problem, gradient)
            scale = torch.maximum(scale, norm)
            target = max(self.tolerance, problem.rounding) * scale + floor
            done = (norm <= target) | runaway | stuck
            saddle = torch.zeros_like(done)
            if done.all():
                saddle, escape = negative_curvature(problem, x)
                saddle = saddle & ~runaway & ~stuck
                if not saddle.any() or iteration == self.max_iterations:
                    break
                step = torch.where(saddle[rows.index], escape, 0.0)
            elif iteration == self.max_iterations:
                break
            else:
                if factors is None or not convex or (norm > KEPT * before)[~done].any():
                    factors = _factors(problem, x)
                before = norm
                g = rows.project(gradient)
                held = torch.zeros_like(done) if factors is None else ~(factors.negative | factors.singular)
                step = torch.zeros_like(g) if factors is None else -factors.solve(g)
                if not (held | done).all():
                    other = self._step(problem, x, g, norm, scale, done | held)
                    step = torch.where(held[rows.index], step, other)
                step = torch.where(done[rows.index], 0.0, step)
            moving = ~done | saddle
            found, energy, moved = _line_search(problem, x, energy, gradient, step, moving, saddle)
            stuck = stuck | (moving & ~moved)
            runaway = runaway | (rows.largest(found) > RUNAWAY) | (energy < lowest)
            x = torch.where(runaway[rows.index], x, found)
            gradient = problem.gradient(x)
            history.append(norm_scale(problem, gradient)[0])
        norm, floor = norm_scale(problem, gradient)
        met = norm <= 1e2 * (max(self.tolerance, problem.rounding) * scale + floor)
        ends = zip(runaway.tolist(), saddle.tolist(), met.tolist(), stuck.tolist(), strict=True)
        status = [_status(*one) for one in ends]
        return Minimum(x, rows.multipliers(gradient), status, torch.stack(history))

    def linearise(self, problem: Minimisation, x: Tensor) -> Inverse:
        """By the conjugate gradients inside."""
        return self.inner.linearise(problem, x)

    def _step(self, problem: Minimisation, x: Tensor, g: Tensor, norm: Tensor, scale: Tensor, done: Tensor) -> Tensor:
        rows = problem.rows
        forcing = torch.sqrt(norm / scale.clamp(min=1e-300)).clamp(max=0.5)
        target = torch.where(
            done, torch.inf, torch.maximum(forcing * norm, 0.1 * max(self.tolerance, problem.rounding) * scale)
        )
        product = (problem.approximate() or problem).curvature(x)
        result = tangent_cg(product, -g, rows, precondition(problem, x), target, self.inner.max_iterations)
        bent = result.negative[rows.index]
        return torch.where(bent, result.y + result.direction, result.y)


def _status(runaway: bool, saddle: bool, met: bool, stuck: bool) -> Status:
    if runaway:
        return Status.UNBOUNDED
    if saddle:
        return Status.SADDLE
    if met:
        return Status.CONVERGED
    return Status.STUCK if stuck else Status.NOT_CONVERGED


def _factors(problem: Minimisation, x: Tensor) -> Factors | ModeFactors | None:
    """Factors of the Hessian if it is small, and what couples atoms in it the same at every step."""
    at_hand = all(term.local or (term.has_matrix and term.quadratic) for term in problem.functional)
    if not at_hand or problem.side > SMALL:
        return None
    return factorise(problem, x)


def _line_search(
    problem: Minimisation, x: Tensor, energy: Tensor, gradient: Tensor, step: Tensor, moving: Tensor, saddle: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """x + t d with Armijo's rule in each structure; returns x, its energy and where a step was found.

    Where the energy has not the digits to tell, the slope along d must have become less.
    """
    rows = problem.rows
    slope = rows.dot(gradient, step)
    step = torch.where((slope > 0)[rows.index], -step, step)
    slope = -slope.abs()
    slack, noise = (part * (1 + energy.abs()) for part in (1e-14, UNCLEAR))
    t = torch.where(moving, RUNAWAY / rows.largest(step).clamp(min=RUNAWAY), 0.0)
    search = moving.clone()
    best, best_energy = x, energy
    for _ in range(50):
        trial = x + t[rows.index] * step
        e = problem.objective(trial)
        enough = e <= energy + 1e-4 * t * slope + torch.where(saddle, -slack, slack)
        unclear = search & ~enough & ~saddle & (t * slope.abs() < noise) & (e - energy < noise)
        if unclear.any():
            there = problem.gradient(torch.where(unclear[rows.index], trial, x))
            enough = enough | (unclear & (rows.dot(there, step).abs() <= LESS * slope.abs()))
        accept = search & enough & torch.isfinite(e)
        best = torch.where(accept[rows.index], trial, best)
        best_energy = torch.where(accept, e, best_energy)
        search = search & ~accept
        if not search.any():
            break
        t = torch.where(search, 0.5 * t, t)
    return best, best_energy, moving & ~search
