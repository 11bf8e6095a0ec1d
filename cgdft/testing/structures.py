"""What is tried beside a structure: it turned, inverted or doubled, and two side by side; and what a model lacks of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cgdft.parameter import Parameter
from cgdft.structure import Structure

#: A turn about no particular axis.
TURN = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.7, 0.4], [0.7, 0.0, -1.1], [-0.4, 1.1, 0.0]], dtype=torch.float64))


def inversion(structure: Structure) -> Structure:
    """Its image at the origin: the cell is its own."""
    return structure.holding(positions=-structure.positions)


def stretched(structure: Structure, part: Tensor) -> Structure:
    """All distances, and the cell, longer by a part of them, ()."""
    strain = part * torch.eye(3, dtype=torch.float64).to(structure.cell)
    return structure.deformed(torch.zeros_like(structure.positions), strain.expand(len(structure), 3, 3))


def beside(structure: Structure, other: Structure, away: Sequence[float]) -> Structure:
    """Both without cells, the other moved by a vector, bohr; charges and spins add up."""
    return Structure(
        torch.cat([structure.numbers, other.numbers]),
        torch.cat([structure.positions, other.positions + structure.positions.new_tensor(away)]),
        charge=structure.charge + other.charge,
        spin=structure.spin + other.spin,
    )


def doubled(structure: Structure, axis: int | None = None) -> Structure:
    """Two cells along a periodic axis, default the first, as one; without any, the structure beside itself."""
    if not structure.pbc.any():
        x = structure.positions[:, 0].detach()
        return beside(structure, structure, [float(x.max() - x.min()) + 10.0, 2.0, 1.0])
    axis = int(structure.pbc[0].int().argmax()) if axis is None else axis
    cell = structure.cell[0].clone()
    cell[axis] *= 2
    positions = torch.cat([structure.positions, structure.positions + structure.cell[0, axis]])
    return Structure(
        structure.numbers.repeat(2), positions, cell, structure.pbc[0], charge=2 * structure.charge, spin=2 * structure.spin
    )


def lacking(model: nn.Module, structure: Structure) -> set[str]:
    """Elements of a structure that some table of a model's parameters does not have."""
    found: set[str] = set()
    for one in model.modules():
        kinds = [*one.elements, *(one.table or ())] if isinstance(one, Parameter) else []
        if kinds:
            found |= set(structure.symbols) - {symbol for kind in kinds for symbol in kind.split("-")}
    return found
