"""Files that ASE reads, as sources of frames: extended xyz and trajectories one frame at a time, others kept in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.io.extxyz import key_val_str_to_dict, parse_properties
from ase.io.formats import UnknownFileTypeError, filetype
from ase.io.trajectory import TrajectoryReader

from cgdft.cut_files import note_on_end
from cgdft.learning.data.facts import Fact, table
from cgdft.learning.data.frames import Frame
from cgdft.learning.data.labels import Reading, definitions_in

#: What ASE raises of extended xyz that is none.
UNREADABLE = (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError)
#: Of a comment line without `Properties`.
PLAIN = "species:S:1:pos:R:3"
#: What a uniform field is called.
FIELDS = ("field", "electric_field", "external_field", "efield")


class AtomsFile:
    """Frames of one file. Those in a uniform field (`FIELDS` in `info`) are left out, since a frame has none.

    Args:
        path: of the file.
        reading: keys, units and what else belongs to reading.
        label: by which frames without a name of their own are called, with their number.

    Raises:
        ValueError: not a file that ASE reads, or one that ends within a frame.
    """

    def __init__(self, path: Path, reading: Reading, label: str) -> None:
        self.path, self.reading, self.label = path, reading, label
        self._kept: list[Atoms] = []
        names: dict[str, None] = {}
        places: list[tuple[int, int]] = []
        self._format = _format(path)
        unknown: dict[str, None] = {}
        self.facts, self.kinds = table(self._facts(names, places, unknown))
        self._places = np.asarray(places, dtype=np.int64).reshape(-1, 2)
        self.names, self.definitions = frozenset(names), tuple(definitions_in(names))
        left = self._found - len(places)
        cut = note_on_end(path) if self._format == "extxyz" else None
        fields = f"{path}: {left} of {self._found} frames are in a uniform field and left out" if left else None
        odd = ", ".join(unknown)
        kept = (
            f"{path}: frames with {odd} are kept, as without a field; if that is a uniform one, call it field" if odd else None
        )
        self.notes: tuple[str, ...] = tuple(note for note in (cut, fields, kept) if note)

    def frame(self, k: int, definition: str | None) -> Frame:
        """Read frame k, with the multipoles of this definition."""
        atoms = self.atoms(k)
        return self.reading.frame(atoms, self._called(int(self._places[k, 1]), atoms), definition)

    def name(self, k: int) -> str:
        """By which messages call frame k."""
        return self._called(int(self._places[k, 1]), self.atoms(k) if "name" in self.names else None)

    def atoms(self, k: int) -> Atoms:
        """Frame k as ASE has it."""
        place = int(self._places[k, 0])
        if self._format == "extxyz":
            with self.path.open("rb") as file:
                file.seek(place)
                return self._parsed(_chunk(file, self.path), int(self._places[k, 1]))
        if self._format == "traj":
            with self.path.open("rb") as file, TrajectoryReader(file) as frames:
                return frames[place]
        return self._kept[place]

    def _called(self, k: int, atoms: Atoms | None) -> str:
        default = f"{self.label}-{k}"
        return default if atoms is None else str(atoms.info.get("name", default))

    def _facts(self, names: dict[str, None], places: list[tuple[int, int]], unknown: dict[str, None]) -> Iterator[Fact]:
        """Facts of the frames, while their places, the names of what they hold, and those of what may be a field are noted."""
        self._found = 0
        for place, info, columns, atoms in self._walk():
            number, self._found = self._found, self._found + 1
            fields = [value for name, value in info.items() if name.lower().removeprefix("ref_") in FIELDS]
            if any(np.any(np.asarray(value) != 0) for value in fields):
                continue
            unknown.update(dict.fromkeys(name for name, value in info.items() if "field" in name.lower() and _counts(value)))
            names.update(dict.fromkeys([*columns, *info]))
            places.append((place, number))
            yield self._fact(atoms, number)

    def _walk(self) -> Iterator[tuple[int, dict[str, Any], list[str], Atoms]]:
        if self._format == "extxyz":
            with self.path.open("rb") as file:
                while True:
                    place = file.tell()
                    lines = _chunk(file, self.path)
                    if not lines:
                        return
                    with self._whole(self._found):
                        info, columns, atoms = self._glance(lines)
                    yield place, info, columns, self._parsed(lines, self._found) if atoms is None else atoms
        for k, atoms in enumerate(self._all()):
            results = atoms.calc.results if atoms.calc is not None else {}
            yield k, atoms.info, [*atoms.arrays, *results], atoms

    def _all(self) -> Iterator[Atoms]:
        """Frames of files that are no extended xyz."""
        try:
            if self._format == "traj":
                with self.path.open("rb") as file, TrajectoryReader(file) as frames:
                    yield from frames
            else:
                self._kept = list(ase.io.iread(self.path))
                yield from self._kept
        except Exception as error:  # whatever a reader of ASE's raises
            told = f"{self.path} must be whole, got a file that ASE cannot read: {type(error).__name__}: {error}"
            raise ValueError(told) from error

    def _fact(self, atoms: Atoms, k: int) -> Fact:
        try:
            charge, spin = (self.reading.stated(atoms, what) for what in ("charge", "spin"))
        except ValueError as error:
            raise ValueError(f"frame {self._called(k, atoms)}: {error}") from error
        charge = self.reading.charge if charge is None else charge
        numbers = atoms.numbers
        if len(numbers) and not (numbers.min() > 0 and numbers.max() < len(chemical_symbols)):
            told = f"`numbers` must be atomic numbers from 1 to {len(chemical_symbols) - 1}, got {sorted({*numbers.tolist()})}"
            raise ValueError(f"frame {self._called(k, atoms)} of {self.path}: {told}")
        return Fact(
            len(atoms),
            int(numbers.sum()),
            np.nan if charge is None else charge,
            np.nan if spin is None else spin,
            bool(atoms.pbc.any()),
            frozenset(numbers.tolist()),
        )

    def _parsed(self, lines: list[bytes], number: int) -> Atoms:
        with self._whole(number):
            return _parsed(lines)

    @contextmanager
    def _whole(self, number: int) -> Iterator[None]:
        try:
            yield
        except UNREADABLE as error:
            raise ValueError(f"{self.path} must be whole, got frame {number} that cannot be read: {error}") from error

    def _glance(self, lines: list[bytes]) -> tuple[dict[str, Any], list[str], Atoms | None]:
        """Comment line, names of columns, and atoms without places; none where initial charges or moments must be summed up."""
        info = key_val_str_to_dict(lines[1].decode().strip()) if lines[1].strip() else {}
        if "Properties" not in info:
            return info, [], None
        described, order, *_ = parse_properties(info.pop("Properties"))
        columns = [described[name][0] for name in order]
        if columns[0] not in ("symbols", "numbers") or {"initial_charges", "initial_magmoms"} & set(columns):
            return info, columns, None
        first = [line.split(None, 1)[0].decode() for line in lines[2:]]
        try:
            numbers = [int(one) if columns[0] == "numbers" else atomic_numbers[one.capitalize()] for one in first]
        except (KeyError, ValueError):
            return info, columns, None
        atoms = Atoms(numbers, info={key: value for key, value in info.items() if key not in ("Lattice", "pbc")})
        atoms.pbc = info.get("pbc", "Lattice" in info)
        return info, columns, atoms


def _counts(value: Any) -> bool:
    """Whether it is numbers, not all zero."""
    array = np.asarray(value)
    return array.dtype.kind in "iuf" and bool(array.any())


def _format(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"`paths` must be files, got {path}: there is none")
    if path.suffix in (".xyz", ".extxyz"):
        return "extxyz"
    try:
        return "traj" if filetype(str(path)) == "traj" else "other"
    except UnknownFileTypeError as error:
        raise ValueError(
            f"`paths` must be files that ASE reads or results of `cgdft reference`, got {path}; write it as extended xyz"
        ) from error


def _chunk(file: BinaryIO, path: Path) -> list[bytes]:
    """Lines of the next frame, none at the end; raises ValueError where the file is no extended xyz or ends within a frame."""
    head = file.readline()
    while head and not head.strip():
        head = file.readline()
    if not head:
        return []
    try:
        n = int(head)
    except ValueError:
        told = head.decode(errors="replace").strip()[:40]
        raise ValueError(f"`paths` must be whole extended xyz files, got {told!r} for a number of atoms in {path}") from None
    lines = [head]
    while len(lines) < n + 2 and (line := file.readline()):
        lines.append(line)
    if n < 1:
        raise ValueError(f"`paths` must hold frames with atoms, got one of {n} in {path} before byte {file.tell()}")
    if len(lines) < n + 2 or not all(line.strip() for line in lines[2:]):
        raise ValueError(
            f"`paths` must be whole extended xyz files, got a frame of fewer than {n} atoms in {path} before byte {file.tell()}"
        )
    return lines


def _parsed(lines: list[bytes]) -> Atoms:
    atoms = ase.io.read(io.StringIO(b"".join(lines).decode()), format="extxyz", index=0)
    assert isinstance(atoms, Atoms)
    return atoms
