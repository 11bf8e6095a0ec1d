"""Sets of frames on disk: read when they are asked for, split, and known by the hash of their content."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from cgdft.learning.data.atomic_energies import is_free_atom
from cgdft.learning.data.facts import Missing, Source, symbols
from cgdft.learning.data.frames import Frame
from cgdft.learning.data.labels import UNNAMED, Reading
from cgdft.learning.data.loader import loader
from cgdft.learning.data.memory import Memory
from cgdft.learning.data.reading_atoms import AtomsFile
from cgdft.learning.data.reading_results import ResultsFile

__all__ = ["FrameSet", "loader"]


class FrameSet(Dataset[Frame]):
    """Frames of files, each read when it is asked for: `frames[k]`, `for frame in frames`.

    Made by `read`. Of each frame a few numbers are kept, of those that `Memory` has room for all; no file stays open.

    Attributes:
        definition: of the multipoles, or None where there are none.
        definitions: all that the files have.
        reading: keys and units, and the charge of frames that state none.
        notes: what reading the files has to tell.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        places: NDArray[np.int64],
        definition: str | None,
        reading: Reading,
        memory: Memory | None = None,
    ) -> None:
        self._sources, self._places, self._memory = tuple(sources), places, memory or Memory()
        self.definition, self.reading = definition, reading
        self.definitions = tuple(dict.fromkeys(one for source in sources for one in source.definitions))
        names = frozenset[str]().union(*(source.names for source in sources))
        unread = reading.unread(names, self.definitions)
        weights = sorted(name for name in names if "weight" in name.lower())
        self.notes = (
            *(note for source in sources for note in source.notes),
            *(f"{source.path}: no frames" for source in sources if not len(source.facts) and not source.notes),
            *([f"labels are not read from {', '.join(unread)}: name them by `keys`"] if unread else []),
            *([f"weights of frames are not read, {', '.join(weights)}: all count alike"] if weights else []),
        )

    @classmethod
    def read(
        cls,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        keys: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
        definition: str | None = None,
        charge: float | None = None,
        partial: Collection[str] = (),
    ) -> FrameSet:
        """Index files: extended xyz and ASE trajectories, HDF5 results of `cgdft reference`; others of ASE are kept in memory.

        Args:
            paths: one file or several.
            keys: label, "charge", "spin" or "points" -> its name in `info`, `arrays` or results; default those of
                `QUANTITIES`. Quadrupole, potential and susceptibility of ASE's files are read only when told. A name
                that ends in ".T" is read transposed: Born charges must be [atom, dipole, displacement].
            units: label -> its unit in ASE's files, such as "hartree", "kcal/mol/angstrom", "debye"; default eV,
                angstrom, e. Positions are in angstrom; results of `cgdft reference` know theirs.
            definition: of the multipoles, by name: arrays <name>_charges, <name>_dipoles and <name>_quadrupoles, in
                e3nn's order; default the first that there is.
            charge: total charge, e, of frames that state none; default neutral, and refused where that is a guess.
            partial: labels whose `keys` the files may lack, with a warning.

        Dipole, quadrupole and potential of periodic frames are not read.

        Raises:
            ValueError: no such file, key, unit or definition; a frame without charge in a set with charged ones; an
                odd number of electrons without charge or spin.
        """
        listed = [Path(one) for one in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
        if not listed:
            raise ValueError("`paths` must be at least one file, got none")
        resolved = [path.resolve() for path in listed]
        if twice := [str(path) for k, path in enumerate(listed) if resolved[k] in resolved[:k]]:
            raise ValueError(f"`paths` must be different files, got {', '.join(twice)} twice")
        reading = Reading(dict(keys or {}), dict(units or {}), charge)
        labels = told_apart(listed)
        sources = [_source(path, reading, labels[path]) for path in listed]
        places = np.concatenate(
            [
                np.stack([np.full(len(source.facts), k), np.arange(len(source.facts))], axis=1)
                for k, source in enumerate(sources)
            ]
        )
        if not len(places):
            notes = "".join(f"; {note}" for source in sources for note in source.notes)
            raise ValueError(f"`paths` must hold at least one frame, got none in {', '.join(map(str, listed))}{notes}")
        names = frozenset[str]().union(*(source.names for source in sources))
        for quantity, key in reading.keys.items():
            if key.removesuffix(".T") not in names:
                told = f"`keys` of {quantity} must be a name in the files, got {key!r}; they have {', '.join(sorted(names))}"
                if quantity not in partial:
                    raise ValueError(told)
                warnings.warn(told, UserWarning, 2)
        made = cls(sources, places, definition, reading)
        if definition is not None and definition not in made.definitions:
            known = ", ".join(made.definitions) or "none"
            raise ValueError(f"`definition` must be of multipoles in the files, which have {known}, got {definition!r}")
        if definition is None:
            made.definition = reading.keys.get("multipoles") or next(iter(made.definitions), None)
        Missing.of(made.facts).refuse(made.name)
        return made

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, k: int) -> Frame:
        source, place = self._at(k)
        return self._memory.get((source, place, self.definition), lambda: source.frame(place, self.definition))

    def __iter__(self) -> Iterator[Frame]:
        return (self[k] for k in range(len(self)))

    def name(self, k: int) -> str:
        """By which messages call frame k."""
        source, place = self._at(k)
        return source.name(place)

    def periodic(self) -> list[int]:
        """Places of the frames with a periodic axis, of which none is read for it."""
        return list(np.flatnonzero(self.facts["periodic"]).tolist())

    @cached_property
    def facts(self) -> NDArray[np.void]:
        """One row of `facts.ROW` for each frame; `kind` is a place in `kinds`."""
        parts, first = [], 0
        for source in self._sources:
            part = source.facts.copy()
            part["kind"] += first
            parts.append(part)
            first += len(source.kinds)
        starts = np.cumsum([0, *(len(part) for part in parts)])
        return np.concatenate(parts)[starts[self._places[:, 0]] + self._places[:, 1]]

    @cached_property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols of all frames, by atomic number."""
        kinds = [kind for source in self._sources for kind in source.kinds]
        return symbols(kinds[k] for k in np.unique(self.facts["kind"]))

    @cached_property
    def hash(self) -> str:
        """sha256 of numbers, positions, cell, charge, spin and labels of all frames, in whatever order; reads them all."""
        total = hashlib.sha256()
        for one in sorted(content(frame) for frame in self):
            total.update(one)
        return total.hexdigest()

    def subset(self, frames: Sequence[int] | NDArray[np.int64]) -> FrameSet:
        """The set of some of the frames, in this order."""
        places = self._places[np.asarray(frames, dtype=np.int64)]
        return FrameSet(self._sources, places, self.definition, self.reading, self._memory)

    def defined_as(self, definition: str | None) -> FrameSet:
        """The same with multipoles by a definition or by arrays that name none; without any, and a warning, if all differ."""
        if definition is None or not self.definitions or "multipoles" in self.reading.keys:
            return self
        same = [one for one in (definition, *UNNAMED) if one in self.definitions]
        if not same:
            told = ", ".join(self.definitions)
            warnings.warn(f"multipoles are not compared: learnt by {definition}, in the files by {told}", UserWarning, 3)
        return FrameSet(self._sources, self._places, next(iter(same), None), self.reading, self._memory)

    def split(self, fractions: Sequence[float], seed: int = 0) -> list[FrameSet]:
        """Disjoint sets at random, of these fractions of the frames, which add up to at most 1.

        Free atoms, of which E0 are read, come first.

        Raises:
            ValueError: fractions out of range, or one too small for a frame.
        """
        if min(fractions, default=0) <= 0 or sum(fractions) > 1 + 1e-9:
            raise ValueError(f"`fractions` must be positive and add up to at most 1, got {list(fractions)}")
        order = np.random.default_rng(seed).permutation(len(self))
        facts = self.facts[order]
        alone = np.array(
            [is_free_atom(self[int(k)].structure) if facts["size"][n] == 1 else False for n, k in enumerate(order)]
        )
        order = order[np.argsort(~alone, kind="stable")]
        ends = np.rint(np.cumsum([0.0, *fractions]) * len(self)).astype(int)
        if (np.diff(ends) < 1).any():
            left = "".join(f"; {note}" for source in self._sources for note in source.notes)
            raise ValueError(f"`fractions` must each give at least one of {len(self)} frames, got {list(fractions)}{left}")
        return [self.subset(np.sort(order[start:end])) for start, end in pairwise(ends)]

    def _at(self, k: int) -> tuple[Source, int]:
        if not -len(self) <= k < len(self):
            raise IndexError(f"frame {k} of a set of {len(self)}")
        source, place = self._places[k]
        return self._sources[source], int(place)


def _source(path: Path, reading: Reading, label: str) -> Source:
    return ResultsFile(path) if path.is_file() and h5py.is_hdf5(path) else AtomsFile(path, reading, label)


def told_apart(paths: Sequence[Path]) -> dict[Path, str]:
    """Of each path its shortest end, without extension, that no other one has: water, water.1, run/water."""
    most = max(len(path.parts) for path in paths)
    ends = {
        path: [
            path.name.split(".")[0],
            *("/".join((*path.parts[:-1], path.stem)[-k:]) for k in range(1, most + 1)),
            path.name,
            path.as_posix(),
        ]
        for path in paths
    }
    levels = [Counter(level) for level in zip(*ends.values(), strict=True)]
    return {
        path: next(end for end, times in zip(found, levels, strict=True) if times[end] == 1) for path, found in ends.items()
    }


def content(frame: Frame) -> bytes:
    """sha256 of all that a frame holds but its name."""
    digest = hashlib.sha256()
    s = frame.structure
    parts = {name: getattr(s, name) for name in ("numbers", "positions", "cell", "pbc", "charge", "spin")}
    for name, value in {**parts, **{f"label {name}": frame.labels[name] for name in sorted(frame.labels)}}.items():
        array = np.ascontiguousarray(value.detach().numpy())
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.digest()
