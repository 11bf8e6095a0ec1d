"""Results of `cgdft reference` as a source of frames, a group of the HDF5 file at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import torch

from cgdft.learning.data.facts import Fact, table
from cgdft.learning.data.frames import Frame
from cgdft.learning.data.labels import check_labels
from cgdft.validation import cache
from cgdft.validation.cache import CorruptCache
from cgdft.validation.reference import Reference

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
        groups: list[str] = []
        with _opened(path) as file:
            try:
                called = json.loads(file["about"].attrs["values"])["names"]
                self.facts, self.kinds = table(self._facts(file, len(called), found, groups))
            except (KeyError, TypeError, ValueError, OSError) as error:
                raise CorruptCache(f"`paths` must hold results of `cgdft reference`, got {path}: {error}") from error
        self._called = [called[int(group)] for group in groups]
        self._groups = groups
        self.definitions = tuple(found)
        left = len(called) - len(groups)
        self.notes: tuple[str, ...] = (
            (f"{path}: {left} of {len(called)} frames are in a uniform field and left out",) if left else ()
        )

    def name(self, k: int) -> str:
        """By which messages call frame k."""
        return str(self._called[k])

    def frame(self, k: int, definition: str | None) -> Frame:
        """Read frame k, with the multipoles of this definition."""
        with _opened(self.path) as file:
            one = Reference(**cache._take(file[self._groups[k]], self.path))
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

    def _facts(self, file: h5py.File, n: int, found: dict[str, None], groups: list[str]) -> Iterator[Fact]:
        for k in range(n):
            group = file[f"{k:04d}"]
            if np.any(group["field"][()]):
                continue
            groups.append(f"{k:04d}")
            values = json.loads(group.attrs["values"])
            found.update(
                dict.fromkeys(key.removeprefix("moments/") for key in values[cache.KEYS] if key.startswith("moments/"))
            )
            numbers = group["numbers"][()]
            periodic = bool(group["pbc"][()].any())
            yield Fact(
                len(numbers), int(numbers.sum()), values["charge"], values["spin"], periodic, frozenset(numbers.tolist())
            )


def _opened(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise CorruptCache(
            f"`paths` must hold results of `cgdft reference`, got {path}, which cannot be read: {error}"
        ) from error
