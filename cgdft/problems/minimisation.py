"""What a solver sees: the energy of the allowed coefficients x, its derivatives, and its linear constraints."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cgdft.density import Density
from cgdft.finite import finite
from cgdft.functional import Functional
from cgdft.problems.problem import Problem, Residual
from cgdft.slopes import slope, slopes
from cgdft.terms import Term, require_bounded, stated_energy

if TYPE_CHECKING:
    from cgdft.derivatives.probe import Probe
    from cgdft.solver import Inverse, Solver


#: Up to so many coefficients in a structure a quadratic functional is solved by factorisation.
DIRECT = 3000
#: Relative residual to which larger ones are solved: below the errors of their operators.
LARGE_TOLERANCE = 1e-10
#: A coefficient beyond this (e, e bohr, ...) means that the energy has no minimum.
RUNAWAY = 1e4
#: So does an energy that falls by more than this (hartree per atom) from where a solver began.
FALLEN = 1e4


class Minimisation(Problem):
    """L(x, lambda) = E(p0 + L x) + 1/2 stiffness x^2 - sum_k V_k a_k.p - sum_k lambda_k (a_k.p - c_k), stationary.

    V_k are the given potentials, c_k the given charges, lambda_k = dE/dc_k the potentials to be found.
    """

    kind: ClassVar[str] = "a minimum"

    def usual_solver(self) -> Solver:
        """Direct for quadratic functionals whose Hessian is a matrix, CG for larger ones, Newton for the rest."""
        from cgdft.solvers import CG, Direct, Newton

        if not self.functional.quadratic:
            return Newton()
        matrix = all(term.has_matrix for term in self.functional)
        return Direct() if matrix and self.side <= DIRECT else CG(tolerance=LARGE_TOLERANCE)

    def objective(self, x: Float[Tensor, " n_x"]) -> Float[Tensor, " n_structures"]:
        """What is minimised: E, less the work of the batteries; infinite where E is no number: a step there went too far."""
        rho = self.density(x)
        energy = sum((stated_energy(term, rho) for term in self.functional), x.new_zeros(self.n))
        energy = energy + self.space.energy(x, self.n) - self.work(rho)
        return energy if finite(energy) else torch.where(energy.isfinite(), energy, torch.inf)

    def lagrangian(
        self, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"]
    ) -> Float[Tensor, " n_structures"]:
        """The objective less multipliers times excess; its derivative by a fixed charge is the multiplier."""
        return self.objective(x) - (multipliers * self.excess(x)).sum(1)

    def energies(
        self, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"]
    ) -> dict[str, Float[Tensor, " n_structures"]]:
        """The energy term by term, hartree; that of the ansatz as "Ansatz"; of the readout's terms where there is one."""
        reported = self.functional if self.readout is None else self.readout
        energies = reported.energies(self.density(x))
        if self.readout is None and self.space.stiffness is not None:
            energies["Ansatz"] = self.space.energy(x, self.n)
        return energies

    # What derivatives use.

    @property
    def orders_behind(self) -> int:
        """Orders of derivatives by which `value` is behind a Lagrangian."""
        return 0 if self.readout is None else 1

    def residual(self, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"], probe: Probe) -> Residual:
        """dL/dx and dL/dlambda with the changes of the probe, with a graph; zero at the solution."""
        lagrangian = self._probed(x, multipliers, probe)
        by_x, by_multipliers = slopes(lagrangian, (x, multipliers), graph=True)
        return Residual(by_x, by_multipliers, lagrangian if self.readout is None else None)

    def value(
        self, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"], probe: Probe
    ) -> Float[Tensor, " n_structures"]:
        """L, or the energy that is reported in its place, less the work of the batteries, hartree."""
        if self.readout is None:
            return self._probed(x, multipliers, probe)
        return sum(self.energies(x, multipliers).values()) - self.work(self.density(x))

    def determined(self, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"]) -> list[Tensor]:
        """The energies, and what determines x: what the solution depends on, these do."""
        energies = [self.lagrangian(x, multipliers)]
        return energies if self.readout is None else [*energies, *self.energies(x, multipliers).values()]

    def linearised(
        self, solver: Solver, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"]
    ) -> tuple[Inverse, Inverse]:
        """K^-1 and its adjoint at the solution: the same, since K is symmetric."""
        inverse = solver.linearise(self, x)
        return inverse, inverse

    def departure(self, p: Float[Tensor, "n_atoms size"]) -> Float[Tensor, " n"]:
        """What vanishes where coefficients p are the solution, with a graph: no solve is needed to see it.

        Of free coefficients the slope that no constraint takes up, hartree / (e bohr^l); else what `answered` gives, less p.
        """
        picked = self.space.picked(p - self.space.origin)
        if picked is not None:
            x = picked.requires_grad_()
            return self.rows.project(slope(self.objective(x), x, graph=True))
        return (self.space.coefficients(self.answered(p)[0]) - p).reshape(-1)

    def start(self, p: Float[Tensor, "n_atoms size"]) -> Float[Tensor, " n_x"] | None:
        """Of modes with a stiffness what `answered` gives, which is nearer than p is, whichever modes there were before."""
        return self.answered(p)[0] if self._answers and self.space.entries is not None else super().start(p)

    @property
    def _answers(self) -> bool:
        """Whether all that the ansatz changes has a stiffness."""
        return self.space.stiffness is not None and bool((self.space.stiffness > 0).all())

    def answered(self, p: Float[Tensor, "n_atoms size"]) -> tuple[Float[Tensor, " n_x"], Float[Tensor, "n_structures n_rows"]]:
        """x = -L^T (dE/dp - sum_k V_k a_k - sum_k lambda_k a_k) / stiffness at p, and the lambda that keep the fixed charges.

        Raises:
            ValueError: an ansatz without stiffness, whose x has no answer of its own.
        """
        if not self._answers:
            raise ValueError("`ansatz` must have a stiffness of all that it changes to answer to a density, got one without")
        stiffness, active = self.space.stiffness, self.rows.active
        assert stiffness is not None
        rho = self.nothing.at(p.detach())
        slope = sum((term.gradient(rho) for term in self.functional), torch.zeros_like(p))
        pulled = self.space.pull(slope - self._given)
        x = -(pulled if self.driven is None else pulled + self.driven) / stiffness
        if not active.any():
            return x, x.new_zeros(active.shape)
        c = torch.stack([self.space.pull(row.weights) for row in self.fixed])
        gram = x.new_zeros(self.n, len(c), len(c)).index_add(0, self.index, (c / stiffness).T[:, :, None] * c.T[:, None])
        multipliers = -torch.linalg.solve(gram + torch.diag_embed(~active).to(gram), active * self.excess(x))
        return x + (c.T * multipliers[self.index]).sum(1) / stiffness, multipliers

    def _probed(self, x: Tensor, multipliers: Tensor, probe: Probe) -> Tensor:
        rho = self.density(x)
        total = self.lagrangian(x, multipliers)
        if probe.field.requires_grad:
            total = total - (probe.field * self.dipole(x)).sum(1)
        if probe.potential.requires_grad:
            total = total + self.structure.total((probe.potential * rho.coefficients).sum(1))
        if probe.voltage.requires_grad:
            for k, row in enumerate(self.held):
                total = total - probe.voltage[:, k] * self.charge(row, rho)
        return total

    # What solvers use, without a graph.

    def gradient(self, x: Float[Tensor, " n_x"]) -> Float[Tensor, " n_x"]:
        """Derivative of the objective by x, (n_x,)."""
        slope = self.space.pull(self.slope(x))
        slope = slope if self.driven is None else slope + self.driven
        return slope if self.space.stiffness is None else slope + self.space.stiffness * x

    def slope(self, x: Float[Tensor, " n_x"]) -> Float[Tensor, "n_atoms size"]:
        """Derivative of the functional, less the work of batteries, by the coefficients."""
        rho = self.density(x)
        slope = self.harmonic.slope(rho) - self._given
        for term in self._others:
            slope = slope + term.gradient(rho)
        if not finite(slope):
            self._blame("first", rho, lambda term: term.gradient(rho))
        return slope

    def curvature(self, x: Float[Tensor, " n_x"]) -> Callable[[Tensor], Tensor]:
        """v -> Hessian of the objective at x times v, (n_x,) to (n_x,); what does not depend on v is computed once."""
        rho = self.density(x)
        blocks = self.blocks(rho)
        products = [term.curvature(rho) for term in self._others if not term.local]
        stiffness = self.space.stiffness

        def product(v: Tensor) -> Tensor:
            moved = self.space.push(v)
            curved = torch.einsum("iab,ib->ia", blocks, moved)
            for one in products:
                curved = curved + one(moved)
            if not finite(curved) and finite(moved):
                self._blame("second", rho, lambda term: term.curvature(rho)(moved))
            pulled = self.space.pull(curved)
            return pulled if stiffness is None else pulled + stiffness * v

        return product

    @property
    def rounding(self) -> float:
        """Relative, of residuals, beyond that of double precision."""
        return max((term.rounding for term in self.functional), default=0.0)

    @property
    def _others(self) -> list[Term]:
        """The terms that are not both quadratic and local."""
        return [term for term in self.functional if not (term.quadratic and term.local)]

    @cached_property
    def _given(self) -> Tensor:
        """sum_k V_k a_k, derivative of what the batteries give, (n_atoms, size), without a graph."""
        given = torch.zeros_like(self.space.origin)
        for row in self.held:
            assert row.potential is not None
            given += row.potential.detach()[self.structure.index, None] * row.weights
        return given

    def approximate(self) -> Minimisation | None:
        """The same problem with terms that are cheaper and nearly right; None if there are none."""
        terms = [term.approximate() for term in self.functional]
        if all(one is two for one, two in zip(terms, self.functional, strict=True)):
            return None
        other = copy.copy(self)
        other.functional, other._kept = Functional(terms), {}
        vars(other).pop("harmonic", None)
        return other

    def hessian(self, x: Float[Tensor, " n_x"]) -> Float[Tensor, "n_structures n n"]:
        """Hessian of the objective for each structure, padded with zeros to the largest."""
        hessian = self.hessian_of_coefficients(x)
        if self.space.entries is None:
            return hessian
        mapping = self._mapping()
        hessian = mapping.transpose(1, 2) @ hessian @ mapping
        if self.space.stiffness is not None:
            hessian.diagonal(dim1=1, dim2=2).add_(self.rows.pad(self.space.stiffness))
        return hessian

    def hessian_of_coefficients(self, x: Float[Tensor, " n_x"]) -> Float[Tensor, "n_structures n n"]:
        """Hessian of the functional by the coefficients p of each structure, padded with zeros to the largest."""
        rho, structure, size = self.density(x), self.structure, self.basis.size
        constant = self._constant_couplings
        hessian = constant() if self.functional.quadratic else self.cached("couplings", constant).clone()
        for term in self._others:
            if not (term.local or term.quadratic):
                hessian += term.hessian(rho)
        by_atom = hessian.reshape(self.n, self._most // size, size, -1, size)
        by_atom[structure.index, structure.local, :, structure.local] += self.blocks(rho)
        if not finite(hessian):
            self._blame("second", rho, lambda term: term.blocks(rho) if term.local else term.hessian(rho))
        return hessian

    def _constant_couplings(self) -> Float[Tensor, "n_structures n n"]:
        """Hessian of the quadratic terms that couple atoms, which is the same everywhere."""
        found = self.space.origin.new_zeros(self.n, self._most, self._most)
        for term in self._others:
            if term.quadratic:
                found += term.hessian(self.nothing)
        return found

    def _mapping(self) -> Float[Tensor, "n_structures n longest"]:
        """L of each structure as a matrix, padded with zeros."""
        assert self.space.entries is not None
        rows, columns, values = self.space.entries[:3]
        local = rows - (self.structure.first * self.basis.size)[self.index[columns]]
        place = (self.index[columns], local, self.rows.local[columns])
        return values.new_zeros(self.n, self._most, self.rows.longest).index_put(place, values, accumulate=True)

    @cached_property
    def many_modes(self) -> bool:
        """Whether there are more modes than coefficients, none of them soft."""
        space = self.space
        if space.entries is None or space.stiffness is None:
            return False
        return self.rows.longest > self._most and bool((space.stiffness > 0).all())

    @property
    def side(self) -> int:
        """Of the largest matrix that a factorisation needs."""
        return self._most if self.many_modes else self.rows.longest

    @cached_property
    def _most(self) -> int:
        """Coefficients of the largest structure."""
        return int(self.structure.counts.max()) * self.basis.size

    def blocks(self, rho: Density) -> Float[Tensor, "n_atoms size size"]:
        """Hessian of all local terms together."""
        found = sum((term.blocks(rho) for term in self._others if term.local), self.harmonic.blocks)
        if not finite(found):
            self._blame("second", rho, lambda term: term.blocks(rho) if term.local else found.new_zeros(()))
        return found

    def _blame(self, which: str, rho: Density, derivative: Callable[[Term], Tensor]) -> None:
        """Raise a ValueError that names the first term whose derivative is no number, or says that the density is none."""
        require_bounded(rho)
        for term in self.functional:
            if not finite(derivative(term)):
                raise ValueError(
                    f"the {which} derivative of `{term.name}` must be finite, got NaN or infinity: the density has been where "
                    "it has none, such as a root or a norm at zero, or an overflow; make it smooth there"
                )

    def diagonal(self, x: Float[Tensor, " n_x"], apart: Float[Tensor, "n_atoms size"] | None = None) -> Float[Tensor, " n_x"]:
        """Local part of the Hessian's diagonal, (n_x,), positive: what Jacobi's preconditioner inverts.

        Args:
            apart: what is treated apart, taken off the diagonal of the coefficients, at most nine tenths of it.
        """
        rho = self.density(x)
        diagonal = sum((term.diagonal(rho) for term in self.functional), torch.zeros_like(rho.coefficients))
        if not finite(diagonal):
            self._blame("second", rho, lambda term: term.diagonal(rho))
        if apart is not None:
            diagonal = torch.maximum(diagonal - apart, 0.1 * diagonal)
        space = self.space
        if space.entries is not None:
            rows, columns, values = space.entries[:3]
            squares = values**2 * diagonal.reshape(-1)[rows]
            diagonal = squares.new_zeros(len(self.index)).index_add(0, columns, squares)
        diagonal = diagonal.reshape(-1)
        if space.stiffness is not None:
            diagonal = diagonal + space.stiffness
        most = self.rows.largest(diagonal).clamp(min=1e-3)[self.index]
        return torch.where(diagonal > 1e-8, diagonal, most)

    def convex(self, x: Float[Tensor, " n_x"]) -> Bool[Tensor, " n_structures"]:
        """Where what terms say of themselves excludes negative curvature at x: their local parts outweigh the rest."""
        rho = self.density(x)
        blocks = self.blocks(rho)
        for term in self._others:
            if term.local:
                continue
            least = term.lower_bound(rho, self.neutral)
            if least is None:
                return torch.zeros(self.n, dtype=torch.bool, device=x.device)
            blocks = blocks + torch.diag_embed(least)
        bent = (torch.linalg.eigvalsh(blocks) <= -1e-12).any(1)
        return ~torch.zeros(self.n, dtype=torch.bool, device=x.device).index_put((self.structure.index[bent],), bent[bent])

    @cached_property
    def _kept(self) -> dict[str, Any]:
        return {}

    def cached(self, what: str, compute: Callable[[], Any]) -> Any:
        """`compute()`, or what it gave for this problem before."""
        if what not in self._kept:
            self._kept[what] = compute()
        return self._kept[what]
