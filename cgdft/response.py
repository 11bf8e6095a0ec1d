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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from cgdft.density import KNOWN_WAYS, Density
from cgdft.derivatives.counted import counted
from cgdft.finite import finite
from cgdft.slopes import slopes
from cgdft.solver import Inverse

if TYPE_CHECKING:
    from cgdft.model import Model
    from cgdft.problems.problem import Problem
    from cgdft.structure import Structure


#: Changes by which a problem is prepared.
PREPARED = ("displacement", "strain", "charge")
#: Tensors that were made for derivatives, in their order.
_made = WeakTensorKeyDictionary()
_order = count()


def _own(tensor: Tensor) -> Tensor:
    if tensor.requires_grad:
        _made[tensor] = next(_order)
    return tensor


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
        charge: the total one that is asked for, (n_structures,), e.
        voltage: of each row held at a potential, (n_structures, n_held), hartree / e.
    """

    displacement: Float[Tensor, "n_atoms 3"]
    strain: Float[Tensor, "n_structures 3 3"]
    field: Float[Tensor, "n_structures 3"]
    potential: Float[Tensor, "n_atoms size"]
    charge: Float[Tensor, " n_structures"]
    voltage: Float[Tensor, "n_structures n_held"]

    @classmethod
    def of(cls, problem: Problem, by: tuple[str, ...] = ()) -> Probe:
        """All zero, with a gradient for those named in `by`."""
        n, m = problem.structure.n_atoms, problem.n
        shapes = {
            "displacement": (n, 3),
            "strain": (m, 3, 3),
            "field": (m, 3),
            "potential": (n, problem.basis.size),
            "charge": (m,),
            "voltage": (m, len(problem.held)),
        }
        like = problem.structure.positions
        return cls(**{name: _own(like.new_zeros(shape, requires_grad=name in by)) for name, shape in shapes.items()})


class Undefined(ValueError):
    """An observable that a model does not have."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A problem with a graph to displacement, strain and charge of its structure, all zero.

    Solved and differentiated, it is prepared once for both.
    """

    problem: Problem
    displacement: Float[Tensor, "n_atoms 3"]
    strain: Float[Tensor, "n_structures 3 3"]
    charge: Float[Tensor, " n_structures"]

    @classmethod
    def of(cls, model: Model, structure: Structure) -> Prepared:
        """The problem of a model on a structure."""
        with torch.enable_grad():
            displacement = _own(torch.zeros_like(structure.positions, requires_grad=True))
            strain = _own(torch.zeros_like(structure.cell, requires_grad=True))
            charge = _own(torch.zeros_like(structure.charge, requires_grad=True))
            return cls(model.problem(structure.deformed(displacement, strain, charge)), displacement, strain, charge)

    def probe(self, by: tuple[str, ...]) -> Probe:
        """Changes, with a gradient for those named in `by`."""
        changes = Probe.of(self.problem, by)
        return replace(changes, **{name: getattr(self, name) for name in PREPARED if name in by})


def leaves(values: Iterable[Tensor], prepared: Prepared) -> list[Tensor]:
    """What some values depend on and requires a gradient, beside what was made for derivatives since `prepared`.

    A function of the structure may solve models of its own, whose displacements are nobody's.
    """
    since = _made[prepared.displacement]
    found = [value for value in values if value.requires_grad and value.grad_fn is None]
    waiting = [value.grad_fn for value in values if value.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            found.append(node.variable)
        more = {one for one, _ in node.next_functions if one is not None} - seen
        seen |= more
        waiting += more
    return [one for one in found if _made.get(one, -1) < since]


@dataclass(frozen=True, eq=False)
class Probed:
    """The solution as a differentiable function of a probe and of everything that requires a gradient; its derivatives.

    Observables are with a graph where grad mode is on, and of the whole batch.

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

    @property
    def dipole(self) -> Float[Tensor, "n_structures 3"]:
        """D about the origin along open directions, (n_structures, 3), e bohr."""
        structure, dipole = self.density.structure, self.density.dipole
        return (structure.open_projector @ dipole[:, :, None])[:, :, 0] if structure.pbc.any() else dipole

    def forces(self, alone: bool = False) -> Float[Tensor, "n_atoms 3"]:
        """-d(value)/dR, (n_atoms, 3), hartree / bohr; `alone` where no virial is expected, which is else of the same pass."""
        return -self._by_motion("displacement", alone) + 0.0  # no negative zeros in tables

    def virial(self) -> Float[Tensor, "n_structures 3 3"]:
        """d(value)/d(strain), (n_structures, 3, 3), hartree, symmetric."""
        slope = self._by_motion("strain")
        return 0.5 * (slope + slope.transpose(1, 2))

    def _by_motion(self, by: str, alone: bool = False) -> Tensor:
        """Derivative of the value by displacement or strain; one pass serves both, if both were asked for, and is kept."""
        kept = self._passes.setdefault(torch.is_grad_enabled(), {})
        if by not in kept:
            asked = [name for name in ("displacement", "strain") if getattr(self.probe, name).requires_grad]
            names = [by] if alone or by not in asked else [name for name in asked if name not in kept]
            kept.update(zip(names, self._slopes(self.value, names), strict=True))
        return kept[by]

    @cached_property
    def _passes(self) -> dict[bool, dict[str, Tensor]]:
        return {}

    def polarizability(self, which: Tensor | None = None) -> Float[Tensor, "n_structures 3 3"]:
        """dD/dF, (n_structures, 3, 3), bohr^3, D that of `Problem.dipole`.

        Raises:
            Undefined: among the structures `which` are asked for, default all, bulk in which charges move freely.
        """
        self._require_known_ways("polarizability", which, self.density.crossed is not None)
        return self._slopes_of_dipole("field")

    def born_charges(self, which: Tensor | None = None) -> Float[Tensor, "n_atoms 3 3"]:
        """dD_a/dR_ib, (n_atoms, 3, 3), e, D that of `Problem.dipole`.

        Raises:
            Undefined: among the structures `which` are asked for, default all, bulk in which charges move freely, or reference
                charges change with the positions.
        """
        structure, found = self.density.structure, self._slopes_of_dipole("displacement")
        if not structure.pbc.any():
            return found
        self._require_known_ways("born_charges", which, self.problem.knows_ways)
        return found if self.problem.knows_ways else structure.open_projector[structure.index] @ found

    def susceptibility(self) -> Float[Tensor, "n_structures n n"]:
        """dp_a/dv_b, (n_structures, n, n), e^2 / hartree; padded with zeros, coefficients of an atom adjoin."""
        structure, p = self.density.structure, self.density.coefficients
        size, most, local = p.shape[1], int(structure.counts.max()), structure.local
        chi = p.new_zeros(len(structure), most * size, most, size)
        for atom in range(most):
            for component in range(size):
                one = torch.zeros_like(p)
                one[local == atom, component] = 1.0
                slope = self.slope(p, "potential", one)
                chi = chi.index_put((structure.index, local.new_tensor(atom * size + component), local), slope)
        return chi.reshape(len(structure), most * size, most * size)

    def capacitance(self) -> Float[Tensor, "n_structures n_held n_held"]:
        """dq_k/dV_l of the charges held at potentials, (n_structures, n_held, n_held), e^2 / hartree."""
        with torch.enable_grad():
            charges = [self.problem.charge(row, self.density) for row in self.problem.held]
        return torch.stack([self.slope(charge, "voltage") for charge in charges], 1)

    def slope(self, value: Tensor, by: str, weight: Tensor | None = None) -> Tensor:
        """Derivative of the sum of some values, or of weighted ones, by a change of the probe, of the change's shape.

        Raises:
            ValueError: a change that the response was not asked for.
        """
        (slope,) = self._slopes(value, [by], weight)
        return slope

    def _slopes(self, value: Tensor, by: list[str], weight: Tensor | None = None) -> list[Tensor]:
        changes = [getattr(self.probe, name) for name in by]
        for name, change in zip(by, changes, strict=True):
            if not change.requires_grad:
                raise ValueError(f"`by` must be among the changes that the response was asked for, got {name}")
        found = [one + 0.0 for one in slopes(value, changes, weight, graph=torch.is_grad_enabled(), keep=True)]
        if not all(finite(one) for one in found):
            self._blame(changes, " and ".join({"displacement": "positions", "strain": "cell"}.get(one, one) for one in by))
        return found

    def _blame(self, changes: list[Tensor], by: str) -> None:
        """Raise a ValueError that names the first term whose derivative by some changes is no number."""
        rho, names = self.density.at(self.density.coefficients.detach()), []
        for term in self.problem.readout or self.problem.functional:
            with torch.enable_grad():
                found = slopes(term.energy(rho), changes, keep=True)
            names += [] if all(map(finite, found)) else [f"of `{term.name}` "]
        raise ValueError(
            f"the derivative of the energy {''.join(names[:1])}by {by} must be finite, got NaN or infinity: a root or norm at "
            "zero, or an angle of a line; make it smooth there"
        )

    def _require_known_ways(self, what: str, which: Tensor | None, known: bool) -> None:
        bulk = self.problem.structure.pbc.all(1)
        if not known and bulk[slice(None) if which is None else which].any():
            raise Undefined(f"`{what}` of bulk {KNOWN_WAYS}")

    def _slopes_of_dipole(self, by: str) -> Tensor:
        with torch.enable_grad():
            dipole = self.problem.dipole(self.density)
        axes = torch.eye(3, dtype=dipole.dtype, device=dipole.device)
        return torch.stack([self.slope(dipole, by, axis.expand_as(dipole)) for axis in axes], 1)


def forbid_inference() -> None:
    """Raise a RuntimeError within torch.inference_mode(), where derivatives would be zero or fail."""
    if torch.is_inference_mode_enabled():
        raise RuntimeError("torch.inference_mode() forbids derivatives, by which minima are found: use torch.no_grad()")


def respond(
    problem: Problem,
    probe: Probe,
    x: Tensor,
    multipliers: Tensor,
    linearised: tuple[Inverse, Inverse],
    order: int,
    economical: bool = False,
    by: Sequence[Tensor] = (),
) -> Probed:
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
            x, multipliers = _own(x.detach().requires_grad_()), _own(multipliers.detach().requires_grad_())
        value = None
        for _ in range(min(order, 1) if problem.explicit else order):
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
            value = counted(value, order if problem.lag else 2 * order + (not economical), by)
            x, multipliers = counted(x, order, by), counted(multipliers, order, by)
        rho = problem.density(x)
        return Probed(problem, probe, rho, multipliers, value, problem.work(rho), x)
