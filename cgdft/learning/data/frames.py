"""Structures with what is known of them, one by one and in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from cgdft.electrostatics.pairs import pairs_within
from cgdft.memo import remember, remembered
from cgdft.structure import Structure, require_structure

#: i, j and shift of all pairs within a cutoff.
Pairs = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Frame:
    """One structure and its labels.

    Attributes:
        name: by which messages call it.
        structure: a single one, with its charge and spin.
        labels: what is known, by the names of `quantities`, in Hartree atomic units; `potential` goes with `points`.

    Raises:
        ValueError: a batch.
    """

    name: str
    structure: Structure
    labels: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        require_structure(self.structure)
        if len(self.structure) != 1:
            raise ValueError(f"`structure` of {self.name} must be a single one, got a batch of {len(self.structure)}")

    def to(self, device: torch.device | str) -> Frame:
        """The same on another device."""
        return Frame(self.name, self.structure.to(device), {name: label.to(device) for name, label in self.labels.items()})


@dataclass(frozen=True, eq=False)
class Batch:
    """Frames that are solved together, with their pairs of neighbours."""

    frames: Sequence[Frame]
    structure: Structure
    pairs: Mapping[float, Pairs] = field(default_factory=dict)

    @classmethod
    def of(cls, frames: Sequence[Frame], cutoffs: Sequence[float] = ()) -> Batch:
        """A batch with the neighbour lists of these cutoffs (bohr)."""
        structure = Structure.batch([frame.structure for frame in frames])
        return cls(list(frames), structure, {cutoff: pairs_within(structure, cutoff) for cutoff in cutoffs})

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device; neighbour lists are moved, not built again."""
        if self.structure.positions.device == torch.device(device):
            return self
        pairs = {cutoff: (i.to(device), j.to(device), shift.to(device)) for cutoff, (i, j, shift) in self.pairs.items()}
        return Batch([frame.to(device) for frame in self.frames], self.structure.to(device), pairs)

    def beside(self, module: nn.Module) -> Batch:
        """The same on the device of a module's weights."""
        weight = next(module.parameters(), None)
        return self if weight is None else self.to(weight.device)

    def __len__(self) -> int:
        return len(self.frames)

    def without(self, structures: Sequence[int]) -> Batch:
        """The same without some of its structures."""
        gone = set(structures)
        return Batch.of([frame for s, frame in enumerate(self.frames) if s not in gone], list(self.pairs))

    @contextmanager
    def remembering(self, structure: Structure) -> Iterator[None]:
        """Inside, whoever asks for pairs of `structure`, this batch's moved by nothing, gets those of this batch."""
        with remembered():
            for cutoff, pairs in self.pairs.items():
                remember(("pairs", cutoff), structure, pairs)
            yield

    @cached_property
    def quantities(self) -> tuple[str, ...]:
        """Names of the labels that some frame has."""
        return tuple(dict.fromkeys(name for frame in self.frames for name in frame.labels if name != "points"))

    def having(self, quantity: str) -> list[int]:
        """The structures with this label."""
        return [s for s, frame in enumerate(self.frames) if quantity in frame.labels]

    def atoms_of(self, structures: Sequence[int]) -> Tensor:
        """Places of the atoms of some structures, in their order."""
        first, counts = self.structure.first.tolist(), self.structure.counts.tolist()
        places = [torch.arange(first[s], first[s] + counts[s]) for s in structures]
        return torch.cat(places).to(self.structure.numbers.device)
