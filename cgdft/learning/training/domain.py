"""What surroundings a model was trained on, and a warning when it is asked about others."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from ase.data import chemical_symbols
from jaxtyping import Int
from torch import Tensor, nn

from cgdft.electrostatics.pairs import separations
from cgdft.learning.data.frames import Frame
from cgdft.learning.message_passing import neighbour_list
from cgdft.structure import Structure
from cgdft.units import angstrom

#: element -> "neighbours": least and most of them; "nearest": the largest distance to the nearest one, bohr (left out without
#: any); "closest": element of a neighbour -> the smallest distance to one, bohr.
Ranges = Mapping[str, Mapping[str, Any]]


class OutsideTraining(UserWarning):
    """A structure has an atom in surroundings that the model was not trained on."""


def surroundings(structure: Structure, cutoff: float) -> tuple[Int[Tensor, " n_atoms"], list[dict[str, float]]]:
    """Of each atom: number of neighbours within the cutoff, and the distance to the nearest of each element, bohr."""
    with torch.no_grad():
        i, j, shift = neighbour_list(cutoff, structure)
        length = separations(structure, j, i, -shift).norm(dim=1)
        elements, kind = structure.numbers.unique(return_inverse=True)
        closest = length.new_full((structure.n_atoms * len(elements),), torch.inf)
        closest = closest.scatter_reduce(0, i * len(elements) + kind[j], length, "amin").reshape(structure.n_atoms, -1)
        symbols = [chemical_symbols[number] for number in elements.tolist()]
        found = [{b: r for b, r in zip(symbols, row, strict=True) if r < torch.inf} for row in closest.tolist()]
        return torch.bincount(i, minlength=structure.n_atoms), found


def ranges(frames: Iterable[Frame], cutoff: float, before: Ranges | None = None) -> dict[str, dict[str, Any]]:
    """The surroundings of each element in frames, and in those of an earlier training."""
    found: dict[str, dict[str, Any]] = copy.deepcopy(dict(before or {}))  # type: ignore[arg-type]
    for frame in frames:
        counts, closest = surroundings(frame.structure, cutoff)
        for symbol, count, near in zip(frame.structure.symbols, counts.tolist(), closest, strict=True):
            one = found.setdefault(symbol, {"neighbours": [count, count], "closest": {}})
            one["neighbours"] = [min(count, one["neighbours"][0]), max(count, one["neighbours"][1])]
            for other, distance in near.items():
                one["closest"][other] = min(distance, one["closest"].get(other, torch.inf))
            if near:
                one["nearest"] = max(min(near.values()), one.get("nearest", 0.0))
    return found


class Guard:
    """Called before an environment is computed; warns once."""

    def __init__(self, seen: Ranges, cutoff: float) -> None:
        self.seen, self.cutoff, self.warned = seen, cutoff, False

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Compare the structure with what was seen."""
        structure = arguments[0]
        if self.warned or not isinstance(structure, Structure) or not set(structure.symbols) <= self.seen.keys():
            return  # of elements that it does not know the environment raises
        counts, closest = surroundings(structure, self.cutoff)
        for k, (symbol, count, near) in enumerate(zip(structure.symbols, counts.tolist(), closest, strict=True)):
            told = self._outside(symbol, count, near)
            if told:
                self.warned = True
                of = f" of structure {int(structure.index[k])}" if len(structure) > 1 else ""
                warnings.warn(
                    f"atom {int(structure.local[k])} ({symbol}){of} is in surroundings that the model was not trained on: "
                    f"{told}; others are not told",
                    OutsideTraining,
                    stacklevel=2,
                )
                return

    def _outside(self, symbol: str, count: int, near: dict[str, float]) -> str:
        seen = self.seen[symbol]
        low, high = seen["neighbours"]
        if not low <= count <= high:
            return f"{count} neighbours within {self.cutoff / angstrom:.3g} angstrom, {low} to {high} in training"
        for other, distance in near.items():
            least = seen["closest"].get(other)
            if least is None:
                return f"{other} within {self.cutoff / angstrom:.3g} angstrom, none in training"
            if distance < least - 1e-6:
                return f"{other} {distance / angstrom:.3f} angstrom away, {least / angstrom:.3f} at the least in training"
        far = min(near.values(), default=0.0)
        if far > seen.get("nearest", torch.inf) + 1e-6:
            most = seen["nearest"] / angstrom
            return f"its nearest neighbour {far / angstrom:.3f} angstrom away, {most:.3f} at the most in training"
        return ""
