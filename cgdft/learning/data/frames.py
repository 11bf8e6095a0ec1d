"""Structures with what is known of them, one by one and in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from cgdft.electrostatics.pairs import pairs_within
from cgdft.memo import remember, remembered
from cgdft.structure import Structure

#: i, j and shift of all pairs within a cutoff.
Pairs = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Frame:
    """One structure and its labels.

    Attributes:
        name: by which messages call it.
        structure: a single one, with its charge and spin.
        labels: what is known, by the names of `quantities`, in Hartree atomic units; `potential` goes with `points`.
    """

    name: str
    structure: Structure
    labels: Mapping[str, Tensor]


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
        return torch.cat([torch.arange(first[s], first[s] + counts[s]) for s in structures])
