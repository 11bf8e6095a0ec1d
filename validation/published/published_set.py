"""What a published set is: files, frames to train on and to test with, and what is measured on those."""

from __future__ import annotations

import io
import lzma
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import ase.io
from ase import Atoms

from cgdft.learning import Frame
from cgdft.learning.training.evaluation import Evaluation
from cgdft.model import Model


@dataclass(frozen=True)
class Divided:
    """Frames to train on, to choose the best epoch by, and to report errors of."""

    train: list[Frame]
    validation: list[Frame]
    test: list[Frame]


#: What errors count: those of energies and forces, and of a density's multipoles, where a model has them.
LABELS = {"energy": 4.0, "forces": 1.0}
MULTIPOLES = {"multipoles": 1.0, "dipole": 1.0, "stationarity": 1.0}

D = TypeVar("D", bound=Divided)


@dataclass(frozen=True)
class PublishedSet(Generic[D]):
    """One set and its task.

    Attributes:
        name: by which it is chosen and its results are stored.
        folder, files: where they are sought.
        title: of its section in reports.
        task: what is trained on and what is tested, in a sentence or two.
        source: authors, journal, year.
        parts: folder of the set -> frames, divided, of each model that is trained apart; mostly of one.
        weights: architecture -> weights of the labels, see `Settings`.
        measured: (trained model, its architecture, frames) -> "errors" by column, and "curves" where some are drawn.
        columns: what is reported, with the heads of the tables.
        epochs, batch_size: of a training.
        directly: whether a tenth of them is trained at the reference's density, which needs multipoles of every frame.
    """

    name: str
    folder: str
    files: tuple[str, ...]
    title: str
    task: str
    source: str
    parts: Callable[[Path], list[D]]
    weights: Callable[[str], dict[str, float]]
    measured: Callable[[Model, str, D], dict[str, Any]]
    columns: Mapping[str, str]
    epochs: int
    batch_size: int = 8
    directly: bool = False

    def absent(self, root: Path) -> str:
        """What is looked for in the folder of all sets and is not there, in a line; empty if all is there."""
        place = root / self.folder
        missing = [name for name in self.files if not (place / name).is_file()]
        return f"{self.name}: left out, there is no {', '.join(missing)} in {place}" if missing else ""


def atoms_of(path: Path) -> list[Atoms]:
    """All frames of an extended xyz file, compressed or not.

    Raises:
        ValueError: no such file.
    """
    if not path.is_file():
        raise ValueError(f"`path` must be an extended xyz file, got {path}: there is none; get it from the set's authors")
    with lzma.open(path, "rt") if path.suffix == ".xz" else path.open() as file:
        text = io.StringIO(file.read())  # as a whole: ASE goes back and forth, which starts compressed files anew each time
    read = ase.io.read(text, index=":", format="extxyz")
    return read if isinstance(read, list) else [read]


def rounded(found: Evaluation) -> dict[str, float]:
    """Root mean square errors by quantity, in the units of `SHOWN`, to four digits."""
    return {name: digits(row["rmse"]) for name, row in found.to_dict()["errors"].items()}


def digits(value: float) -> float:
    """A number to four digits."""
    return float(f"{value:.4g}")
