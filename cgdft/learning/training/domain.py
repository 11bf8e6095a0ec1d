"""What surroundings a model was trained on, and a warning when it is asked about others."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cgdft.electrostatics.pairs import separations
from cgdft.learning.data.frames import Frame
from cgdft.learning.message_passing import neighbour_list
from cgdft.structure import Structure
from cgdft.units import angstrom

#: element -> least and most neighbours, smallest and largest distance to the nearest one (bohr; none without neighbours).
Ranges = Mapping[str, Mapping[str, list[float]]]


class OutsideTraining(UserWarning):
    """A structure has an atom in surroundings that the model was not trained on."""


def surroundings(structure: Structure, cutoff: float) -> tuple[Tensor, Tensor]:
    """Number of neighbours within the cutoff, and distance to the nearest (infinite without), (n_atoms,) each."""
    with torch.no_grad():
        i, j, shift = neighbour_list(cutoff, structure)
        length = separations(structure, j, i, -shift).norm(dim=1)
        nearest = length.new_full((structure.n_atoms,), torch.inf).scatter_reduce(0, i, length, "amin")
        return torch.bincount(i, minlength=structure.n_atoms), nearest


def ranges(frames: Iterable[Frame], cutoff: float) -> dict[str, dict[str, list[float]]]:
    """The surroundings of each element in frames."""
    found: dict[str, dict[str, list[float]]] = {}
    for frame in frames:
        counts, nearest = surroundings(frame.structure, cutoff)
        for symbol, count, near in zip(frame.structure.symbols, counts.tolist(), nearest.tolist(), strict=True):
            one = found.setdefault(symbol, {"neighbours": [count, count], "nearest": []})
            one["neighbours"] = [min(count, one["neighbours"][0]), max(count, one["neighbours"][1])]
            if near < torch.inf:
                low, high = one["nearest"] or (near, near)
                one["nearest"] = [min(near, low), max(near, high)]
    return found


class Guard:
    """Called before an environment is computed; warns once."""

    def __init__(self, seen: Ranges, cutoff: float) -> None:
        self.seen, self.cutoff, self.warned = seen, cutoff, False

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Compare the structure with what was seen."""
        structure = arguments[0]
        if self.warned or not isinstance(structure, Structure):
            return
        counts, nearest = surroundings(structure, self.cutoff)
        atoms = zip(structure.symbols, counts.tolist(), nearest.tolist(), strict=True)
        for k, (symbol, count, near) in enumerate(atoms):
            told = self._outside(symbol, count, near)
            if told:
                self.warned = True
                warnings.warn(
                    f"atom {k} ({symbol}) is in surroundings that the model was not trained on: {told}; others are not told",
                    OutsideTraining,
                    stacklevel=2,
                )
                return

    def _outside(self, symbol: str, count: int, near: float) -> str:
        seen = self.seen.get(symbol)
        if seen is None:  # the environment raises
            return ""
        low, high = seen["neighbours"]
        if not low <= count <= high:
            return f"{count} neighbours within {self.cutoff / angstrom:.3g} angstrom, {low} to {high} in training"
        if near < torch.inf and seen["nearest"]:
            low, high = seen["nearest"]
            if not low - 1e-6 <= near <= high + 1e-6:
                return (
                    f"its nearest neighbour {near / angstrom:.3f} angstrom away, {low / angstrom:.3f} to "
                    f"{high / angstrom:.3f} in training"
                )
        return ""
