"""Frames of the same atoms that are close to each other: between them forces and stress tell the difference of energies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cgdft.learning.data.frames import Frame

#: Atoms that move less between two frames (bohr), and cells that are strained by less, are close.
NEAR, STRAINED = 0.6, 0.05
#: Below this (bohr; or strain) nothing has moved.
SAME_PLACE = 1e-5


@dataclass(frozen=True, eq=False)
class Step:
    """From one frame to another: R -> (R + moved) (1 + strain), rows being vectors.

    Attributes:
        moved: of the atoms within the cell, (n, 3), bohr.
        strain: of the cell, (3, 3).
    """

    one: Frame
    other: Frame
    moved: Tensor
    strain: Tensor

    @property
    def moves(self) -> bool:
        """Whether atoms do, within the cell."""
        return float(self.moved.abs().max()) > SAME_PLACE

    @property
    def strains(self) -> bool:
        """Whether the cell is another one."""
        return float(self.strain.abs().max()) > SAME_PLACE

    @property
    def change(self) -> float:
        """Of the energy, hartree."""
        return float(self.other.labels["energy"] - self.one.labels["energy"])

    @property
    def of_forces(self) -> float:
        """-sum F.dR, hartree; no forces are needed where nothing moves."""
        return -float((self._mean("forces") * self.moved).sum()) if self.moves else 0.0

    @property
    def of_stress(self) -> float:
        """V sigma : strain, hartree."""
        return self._volume * float((self._mean("stress") * self.strain).sum())

    @property
    def pressed(self) -> float:
        """V trace(strain), bohr^3: the work of a pressure of -1."""
        return self._volume * float(self.strain.trace())

    @property
    def _volume(self) -> float:
        return 0.5 * sum(float(one.structure.cell[0].det().abs()) for one in (self.one, self.other))

    def _mean(self, name: str) -> Tensor:
        return 0.5 * (self.one.labels[name] + self.other.labels[name])


def steps(frames: Sequence[Frame]) -> Iterator[Step]:
    """From each frame that has an energy to the nearest before it of the same atoms, if it is close."""
    groups: dict[tuple[float, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        if "energy" in frame.labels:
            s = frame.structure
            cell = [] if s.pbc.all() else s.cell.flatten().tolist()
            groups[(*s.numbers.tolist(), *s.charge.tolist(), *s.spin.tolist(), *s.pbc.flatten().tolist(), *cell)].append(frame)
    for members in groups.values():
        cells = torch.stack([_frame_of_reference(frame) for frame in members])
        places = torch.linalg.solve(cells, torch.stack([frame.structure.positions for frame in members]), left=False)
        for k in range(1, len(members)):
            strain = torch.linalg.solve(cells[:k], cells[k].expand(k, 3, 3)) - torch.eye(3).to(cells)
            moved = (places[k] - places[:k]) @ cells[:k]
            apart = moved.abs().amax((1, 2)) / NEAR + strain.abs().amax((1, 2)) / STRAINED
            j = int(apart.argmin())
            if float(apart[j]) < 1.0:
                yield Step(members[j], members[k], moved[j], strain[j])


def _frame_of_reference(frame: Frame) -> Tensor:
    """The cell of what is periodic along all axes, in which atoms keep their places under strain; else space itself."""
    s = frame.structure
    return s.cell[0] if bool(s.pbc.all()) else torch.eye(3).to(s.positions)
