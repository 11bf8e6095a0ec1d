"""What is to be solved on one batch of structures: allowed coefficients x under linear constraints, and what vanishes there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cgdft.constraint import Row, settled
from cgdft.density import KNOWN_WAYS, Density
from cgdft.foreign import is_foreign
from cgdft.functional import Functional
from cgdft.memo import remembered
from cgdft.naming import few
from cgdft.problems.constraint_rows import ConstraintRows
from cgdft.problems.harmonic import Harmonic
from cgdft.slopes import askew, slope, slopes
from cgdft.space import Space

if TYPE_CHECKING:
    from cgdft.ansatz import Ansatz
    from cgdft.basis import Multipoles
    from cgdft.constraint import Constraint
    from cgdft.derivatives.probe import Probe
    from cgdft.solver import Inverse, Solver
    from cgdft.structure import Structure
    from cgdft.terms import Term


#: To what fixed charges must be kept, e.
KEPT = 1e-6


class Residual(NamedTuple):
    """What vanishes at the solution, with a graph.

    Attributes:
        x: (n_x,).
        multipliers: (n_structures, n_rows).
        lagrangian: of which it is the derivative and which is the energy that is reported, (n_structures,); None without any.
    """

    x: Float[Tensor, " n_x"]
    multipliers: Float[Tensor, "n_structures n_rows"]
    lagrangian: Float[Tensor, " n_structures"] | None


class Problem(ABC):
    """r(x, lambda) = 0 for the densities p0 + L x with a_k.p = c_k; see `Minimisation` and `LawProblem`.

    The structures do not couple; vectors x are (n_x,) with `index` (n_x,) saying to which structure each belongs, multipliers
    lambda_k = dE/dc_k of the fixed charges (n_structures, n_rows).

    Args:
        structure, basis, functional, ansatz, constraints, readout: of the model; everything that depends on the structure
            alone is computed here, once.

    Attributes:
        memory: what solvers keep from solve to solve of a model, by names of their own; only the speed may depend on it.
    """

    #: What the solution is.
    kind: ClassVar[str]
    #: Whether what vanishes is x less a function without x: one step then makes all derivatives exact.
    closed_form: ClassVar[bool] = False

    def __init__(
        self,
        structure: Structure,
        basis: Multipoles,
        functional: Functional,
        ansatz: Ansatz,
        constraints: list[Constraint],
        readout: Functional | None = None,
    ) -> None:
        self.structure, self.ansatz = structure, ansatz
        self.memory: dict[str, Any] = {}
        with remembered():
            self.basis = basis.prepare(structure)
            self.functional = functional.prepare(structure, self.basis)
            self.readout = None if readout is None else readout.prepare(structure, self.basis)
            self.space = ansatz.prepare(structure, self.basis)
        if not isinstance(self.space, Space):
            raise TypeError(f"`{type(ansatz).__name__}` must prepare a cgdft.Space, got {type(self.space).__name__}")
        self.space.check(structure, self.basis)
        rows: list[Row] = []
        for constraint in constraints:
            given = constraint.rows(structure, self.basis)
            if not isinstance(given, list):
                raise TypeError(
                    f"`rows` of {type(constraint).__name__} must give a list of cgdft.Row, got {type(given).__name__}"
                )
            rows += given
        rows = settled(rows, structure, self.basis.size, self.space.unmoved)
        self.held = [row for row in rows if row.potential is not None]
        self.fixed = [row for row in rows if row.charge is not None]
        self.index = self.space.index
        self.n = len(structure)
        for row in self.held:
            self._require_change(row, type(ansatz).__name__)
        self.uncounted, self.driven = self._driven()

    def _driven(self) -> tuple[Bool[Tensor, " n_structures"] | None, Float[Tensor, " n_x"] | None]:
        """Of energies of what crosses the walls of cells, in which they are linear: where they do not count it, since the ways
        are unknown, (n_structures,), and dE/dx where they do, (n_x,); None where there are none.

        Raises:
            ValueError: an energy of what crosses along periodic axes where the ways are unknown.
        """
        structure = self.structure
        if not structure.pbc.any():
            return None, None
        found = [self._by_crossed(one) for one in (self.functional, self.readout) if one is not None]
        acted = torch.stack([one.any(1) for one in found]).any(0)
        if not acted.any():
            return None, None
        uncounted = acted & ~self.knows_ways
        for one in found:
            along = one - (structure.open_projector.detach() @ one[:, :, None])[:, :, 0]
            if (uncounted & (along.norm(dim=1) > 1e-10 * one.norm(dim=1))).any():
                raise ValueError(f"`field` along a periodic axis {KNOWN_WAYS}, got {type(self.ansatz).__name__}")
        if self.space.carried is None:
            return uncounted, None
        force = torch.where((uncounted | ~self.space.says_ways(self.n))[:, None], 0.0, found[0])
        felt = torch.zeros_like(self.space.origin)
        felt[:, 0] = (structure.positions.detach() * force[structure.index]).sum(1)
        carried = self.space.carried.detach().nan_to_num()
        return uncounted, (carried * force[self.index]).sum(1) - self.space.pull(felt).detach()

    def _by_crossed(self, functional: Functional) -> Float[Tensor, "n_structures 3"]:
        """Derivative of energies by what crossed the walls of cells.

        Raises:
            ValueError: a user's term that is not external, or not linear in it.
        """
        zero, p = self.space.origin.new_zeros(self.n, 3), torch.zeros_like(self.space.origin)

        def of(term: Term, at: Tensor) -> Tensor:
            with torch.enable_grad():
                crossed = at.clone().requires_grad_()
                return slope(term.energy(Density(self.structure, self.basis, p, crossed)), crossed)

        total = zero
        for term in functional:
            foreign = is_foreign(term)
            if not (term.external or foreign):
                continue
            found = of(term, zero + 1.0)
            if foreign and found.any() and not (term.external and torch.allclose(found, of(term, zero))):
                raise ValueError(
                    f"`{term.name}` must be external, and linear in the itinerant dipole, to have it in its energy"
                )
            total = total + found
        return total

    def require_known_ways(self, what: str) -> None:
        """Raise a ValueError if it is not known how charges come through the walls of each cell."""
        if not self.knows_ways.all():
            raise ValueError(f"{what} {KNOWN_WAYS}, got {type(self.ansatz).__name__}")

    @cached_property
    def knows_ways(self) -> Bool[Tensor, " n_structures"]:
        """Where the ansatz says how charges come through walls, and reference charges stay where positions change; or open."""
        loose, said = ~self.structure.pbc.any(1), self.space.says_ways(self.n)
        if not (said & ~loose).any():
            return loose
        with torch.enable_grad(), remembered():
            at = self.structure.positions.detach()
            moved = (1e-4 * askew(at)).requires_grad_()
            strain = torch.zeros_like(self.structure.cell, requires_grad=True)
            origin = self.ansatz.prepare(self.structure.deformed(moved, strain), self.basis).origin[:, 0]
            weights = torch.linspace(1.0, 2.0, len(origin), dtype=origin.dtype, device=origin.device)
            by_position, by_strain = slopes(origin @ weights, (moved, strain))
            changed = self.structure.total(by_position.abs().sum(1)) + by_strain.abs().sum((1, 2)) > 0
            return loose | (said & ~changed)

    def moves(self, weights: Float[Tensor, "n_atoms size"]) -> bool:
        """Whether the ansatz can change the linear charge a.p of these weights a."""
        pulled = self.space.pull(weights)
        return bool(len(pulled)) and bool(pulled.detach().abs().max() > 1e-12)

    def _require_change(self, row: Row, ansatz: str) -> None:
        """Raise a ValueError if the charge of a row that is held at a potential cannot change, in each structure."""
        named = self.structure.total((row.weights != 0).any(1).to(torch.int64)) > 0
        if not named.any():
            raise ValueError(f"`atoms` held at a potential must be some, got none of {row.name}")
        pulled = self.space.pull(row.weights.detach())
        if not (self.rows.dot(pulled, pulled) > 1e-24)[named].all():
            raise ValueError(
                f"`potential` must be of a charge that the ansatz can change, got {row.name} of {ansatz}, which keeps it; fix "
                "the charge instead"
            )
        left = self.rows.project(pulled)
        if not (self.rows.dot(left, left) > 1e-18 * self.rows.dot(pulled, pulled))[named].all():
            fixed = few([one.name for one in self.fixed])
            raise ValueError(
                f"`potential` must be of a charge that other constraints let change, got {row.name}, which follows from the "
                f"fixed charges of {fixed}; leave one of them out"
            )

    def density(self, x: Float[Tensor, " n_x"]) -> Density:
        """The density of x."""
        return Density(self.structure, self.basis, self.space.coefficients(x), self.crossed(x))

    def crossed(self, x: Float[Tensor, " n_x"]) -> Float[Tensor, "n_structures 3"] | None:
        """What charges that came through walls add to the dipole that energies have; NaN or None where they do not count it."""
        crossed = self.space.crossed(x, self.structure)
        if crossed is None or self.uncounted is None:
            return crossed
        return torch.where(self.uncounted[:, None], torch.nan, crossed)

    @cached_property
    def nothing(self) -> Density:
        """No density at all."""
        return self.density(self.space.origin.new_zeros(len(self.index))).at(torch.zeros_like(self.space.origin))

    def charge(self, row: Row, rho: Density) -> Float[Tensor, " n_structures"]:
        """a.q of each structure, e."""
        return self.structure.total((row.weights * rho.coefficients).sum(1))

    def work(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """sum_k V_k a_k.q, what the batteries give at the given potentials, hartree."""
        total = rho.coefficients.new_zeros(self.n)
        for row in self.held:
            assert row.potential is not None
            total = total + row.potential * self.charge(row, rho)
        return total

    def dipole(self, x: Float[Tensor, " n_x"]) -> Float[Tensor, "n_structures 3"]:
        """D about the origin; along periodic axes, up to a constant, where the ansatz says how charges move, else zero."""
        crossed = self.space.crossed(x, self.structure)
        return Density(self.structure, self.basis, self.space.coefficients(x), crossed).followed_dipole

    def excess(self, x: Float[Tensor, " n_x"]) -> Float[Tensor, "n_structures n_rows"]:
        """a_k.q - c_k for the fixed charges."""
        p, rows = self.space.coefficients(x).reshape(-1), len(self.fixed)
        if not rows:
            return p.new_zeros(self.n, 0)
        place, which, weight = self._weights
        found = p.new_zeros(self.n * rows).index_add(0, place, weight * p[which])
        return found.reshape(self.n, rows) - torch.stack([row.charge for row in self.fixed if row.charge is not None], 1)

    @cached_property
    def _weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """a_k of the fixed charges by their entries: place in (n_structures, n_rows), which coefficient, weight."""
        with torch.enable_grad():  # weights may depend on the structure
            weights = [row.weights.reshape(-1) for row in self.fixed]
            parts = [torch.nonzero((one.detach() != 0) | one.requires_grad).flatten() for one in weights]
            values = torch.cat([one[k] for one, k in zip(weights, parts, strict=True)])
        row = torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([len(one) for one in parts])).to(self.index.device)
        which = torch.cat(parts)
        place = self.structure.index[which // self.basis.size] * len(parts) + row
        return place, which, values

    def start(self, p: Float[Tensor, "n_atoms size"]) -> Float[Tensor, " n_x"] | None:
        """x to begin with where coefficients p are near to the solution; None where there is no telling."""
        return self.space.picked(p - self.space.origin)

    @cached_property
    def harmonic(self) -> Harmonic:
        """The quadratic local terms together."""
        return Harmonic(self.functional, self.nothing)

    @cached_property
    def rows(self) -> ConstraintRows:
        """The fixed charges as rows acting on x, made orthonormal."""
        with torch.no_grad():
            zero, names = self.space.origin.new_zeros(len(self.index)), [row.name for row in self.fixed]
            rows = [self.space.pull(row.weights) for row in self.fixed]
            return ConstraintRows.build(rows, self.index, self.n, -self.excess(zero), names, like=zero)

    @cached_property
    def neutral(self) -> bool:
        """Whether the total charge of each structure stays as it is."""
        ones = torch.zeros_like(self.space.origin)
        ones[:, 0] = 1.0
        total = self.space.pull(ones)
        return not len(total) or bool(self.rows.project(total).abs().max() <= 1e-9 * total.abs().max().clamp(min=1.0))

    # What a kind of problem says.

    @abstractmethod
    def usual_solver(self) -> Solver:
        """The solver for it where none is chosen."""

    @property
    @abstractmethod
    def orders_behind(self) -> int:
        """Orders of derivatives by which `value` is behind a Lagrangian."""

    @abstractmethod
    def residual(self, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"], probe: Probe) -> Residual:
        """What vanishes, with the changes of the probe and a graph."""

    @abstractmethod
    def value(
        self, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"], probe: Probe
    ) -> Float[Tensor, " n_structures"]:
        """The energy that is reported, less the work of the batteries, hartree."""

    @abstractmethod
    def energies(
        self, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"]
    ) -> dict[str, Float[Tensor, " n_structures"]]:
        """The energy term by term, hartree; of the readout's terms where there is one."""

    @abstractmethod
    def determined(self, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"]) -> list[Tensor]:
        """The energies, and what determines x: what the solution depends on, these do."""

    @abstractmethod
    def linearised(
        self, solver: Solver, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"]
    ) -> tuple[Inverse, Inverse]:
        """K^-1 of K = dr/d(x, lambda) at the solution, and its adjoint."""

    @abstractmethod
    def departure(self, p: Float[Tensor, "n_atoms size"]) -> Float[Tensor, " n"]:
        """What vanishes where coefficients p are the solution, with a graph: no solve is needed to see it."""
