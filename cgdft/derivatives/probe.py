"""Small changes, zero in value, by which observables are derivatives, and problems with a graph to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

if TYPE_CHECKING:
    from cgdft.model import Model
    from cgdft.problems.problem import Problem
    from cgdft.structure import Structure


#: Changes by which a problem is prepared.
PREPARED = ("displacement", "strain", "charge")
#: Tensors that were made for derivatives, in their order.
_made = WeakTensorKeyDictionary()
_order = count()


def made(tensor: Tensor) -> Tensor:
    """The tensor, remembered as made for derivatives if it requires a gradient."""
    if tensor.requires_grad:
        _made[tensor] = next(_order)
    return tensor


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
        return cls(**{name: made(like.new_zeros(shape, requires_grad=name in by)) for name, shape in shapes.items()})


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
            displacement = made(torch.zeros_like(structure.positions, requires_grad=True))
            strain = made(torch.zeros_like(structure.cell, requires_grad=True))
            charge = made(torch.zeros_like(structure.charge, requires_grad=True))
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
