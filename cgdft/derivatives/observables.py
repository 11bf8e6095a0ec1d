"""What a solution gives, as derivatives by the changes of a probe."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from cgdft.density import KNOWN_WAYS, Density
from cgdft.derivatives.probe import Probe
from cgdft.finite import finite
from cgdft.slopes import slopes

if TYPE_CHECKING:
    from cgdft.problems.problem import Problem


class Undefined(ValueError):
    """An observable that a model does not have."""


@dataclass(frozen=True, eq=False)
class Observables:
    """The solution as a differentiable function of a probe and of everything that requires a gradient; its derivatives.

    Observables are with a graph where grad mode is on, and of the whole batch.

    Attributes:
        density: at the solution.
        multipliers: (n_structures, n_rows), hartree / e.
        value: energy less the work of batteries, (n_structures,), hartree.
        work: of the batteries, (n_structures,), hartree.
        x: (n_x,), of the ansatz.
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
        return self.density.open_dipole

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
        """dD/dF, (n_structures, 3, 3), bohr^3, D that of `Problem.dipole`; NaN of bulk in which charges move freely.

        Raises:
            Undefined: such bulk among the structures `which` are asked for; default: if all are.
        """
        structure = self.density.structure
        defined = self._defined("polarizability", which, self.problem.space.says_ways(len(structure)))
        return torch.where(defined[:, None, None], self._slopes_of_dipole("field"), torch.nan)

    def born_charges(self, which: Tensor | None = None) -> Float[Tensor, "n_atoms 3 3"]:
        """dD_a/dR_ib, (n_atoms, 3, 3), e, D that of `Problem.dipole`; NaN of bulk in which charges move freely, or reference
        charges change with the positions.

        Raises:
            Undefined: such bulk among the structures `which` are asked for; default: if all are.
        """
        structure, found = self.density.structure, self._slopes_of_dipole("displacement")
        if not structure.pbc.any():
            return found
        known = self.problem.knows_ways
        defined = self._defined("born_charges", which, known)
        found = torch.where(known[structure.index, None, None], found, structure.open_projector[structure.index] @ found)
        return torch.where(defined[structure.index, None, None], found, torch.nan)

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

    def _defined(self, what: str, which: Tensor | None, known: Tensor) -> Tensor:
        """Which structures are not bulk whose charges come by unknown ways, (n_structures,)."""
        missing = self.problem.structure.pbc.all(1) & ~known
        if missing.all() if which is None else missing[which].any():
            raise Undefined(f"`{what}` of bulk {KNOWN_WAYS}")
        return ~missing

    def _slopes_of_dipole(self, by: str) -> Tensor:
        with torch.enable_grad():
            dipole = self.problem.dipole(self.x)
        axes = torch.eye(3, dtype=dipole.dtype, device=dipole.device)
        return torch.stack([self.slope(dipole, by, axis.expand_as(dipole)) for axis in axes], 1)
