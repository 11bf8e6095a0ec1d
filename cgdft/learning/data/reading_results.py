"""Results of `cgdft reference` as a source of frames, a group of the HDF5 file at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np
import torch

from cgdft.learning.data.facts import Fact, table
from cgdft.learning.data.frames import Frame
from cgdft.learning.data.labels import check_labels
from cgdft.validation.dft.cache import CorruptCache, groups_of, read_group, require_intact, values_of
from cgdft.validation.dft.reference import Reference

#: Fields of a reference that are labels of the same name and unit.
LABELS = ("energy", "forces", "dipole", "quadrupole", "polarizability", "susceptibility")


class ResultsFile:
    """Frames of one file. Those in a uniform field are left out, since a frame has none.

    The susceptibility is of the first definition and read with that one only.

    Raises:
        CorruptCache: not results of `cgdft reference`, or damaged ones.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: frozenset[str] = frozenset()
        found: dict[str, None] = {}
        self._groups: list[str] = []
        self._called: list[str] = []
        require_intact(path)
        with h5py.File(path, "r") as file:
            try:
                groups = groups_of(file)
                self.facts, self.kinds = table(self._facts(groups, found))
            except (KeyError, TypeError, ValueError) as error:
                raise CorruptCache(f"`paths` must hold results of `cgdft reference`, got {path}: {error}") from error
        self.definitions = tuple(found)
        left = len(groups) - len(self._groups)
        self.notes: tuple[str, ...] = (
            (f"{path}: {left} of {len(groups)} frames are in a uniform field and left out",) if left else ()
        )

    def name(self, k: int) -> str:
        """By which messages call frame k."""
        return self._called[k]

    def frame(self, k: int, definition: str | None) -> Frame:
        """Read frame k, with the multipoles of this definition."""
        with h5py.File(self.path, "r") as file:
            one = Reference(**read_group(file[self._groups[k]]))
        labels = {
            name: torch.as_tensor(value, dtype=torch.float64)
            for name in LABELS
            if (value := getattr(one, name)) is not None and (name != "susceptibility" or definition == next(iter(one.moments)))
        }
        if definition is not None and definition in one.moments:
            labels["multipoles"] = torch.as_tensor(one.moments[definition], dtype=torch.float64)
        if one.potential_difference is not None:
            labels["potential"] = torch.as_tensor(one.potential_difference, dtype=torch.float64)
            labels["points"] = torch.from_numpy(one.points)
        try:
            check_labels(labels, len(one.numbers))
        except ValueError as error:
            raise ValueError(f"frame {self.name(k)}: {error}") from error
        return Frame(self.name(k), one.structure(), labels)

    def _facts(self, groups: Mapping[str, h5py.Group], found: dict[str, None]) -> Iterator[Fact]:
        for name, group in groups.items():
            if np.any(group["field"][()]):
                continue
            self._called.append(name)
            self._groups.append(group.name)
            values = values_of(group)
            found.update(dict.fromkeys(values["moments"]))
            numbers = group["numbers"][()]
            periodic = bool(group["pbc"][()].any())
            yield Fact(
                len(numbers), int(numbers.sum()), values["charge"], values["spin"], periodic, frozenset(numbers.tolist())
            )
