"""What surroundings and charges a model was trained on, and a warning when it is asked about others."""

from __future__ import annotations

import copy
import sys
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
from cgdft.learning.training.charge_states import outside, widen
from cgdft.structure import Structure
from cgdft.units import angstrom

#: "charge_states": see there; "surroundings": element -> "neighbours": least and most of them; "nearest": element of the
#: nearest one -> the largest distance to it, bohr; "closest": element of a neighbour -> the smallest distance to one, bohr.
Ranges = Mapping[str, Mapping[str, Any]]


class OutsideTraining(UserWarning):
    """A structure has a charge, or an atom in surroundings, that the model was not trained on."""


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
    """The charge states and the surroundings of each element in frames, and in those of an earlier training."""
    whole: dict[str, dict[str, Any]] = copy.deepcopy(dict(before or {}))  # type: ignore[arg-type]
    states, found = whole.setdefault("charge_states", {}), whole.setdefault("surroundings", {})
    for frame in frames:
        widen(states, frame.structure)
        counts, closest = surroundings(frame.structure, cutoff)
        for symbol, count, near in zip(frame.structure.symbols, counts.tolist(), closest, strict=True):
            one = found.setdefault(symbol, {"neighbours": [count, count], "closest": {}, "nearest": {}})
            one["neighbours"] = [min(count, one["neighbours"][0]), max(count, one["neighbours"][1])]
            for other, distance in near.items():
                one["closest"][other] = min(distance, one["closest"].get(other, torch.inf))
            if near:
                nearest = min(near, key=near.__getitem__)
                one["nearest"][nearest] = max(near[nearest], one["nearest"].get(nearest, 0.0))
    return whole


class Guard:
    """Called before an environment is computed; warns once of each way to be outside, of surroundings once of each element."""

    def __init__(self, seen: Ranges, cutoff: float) -> None:
        self.states, self.surroundings, self.cutoff = seen["charge_states"], seen["surroundings"], cutoff
        self.told: set[tuple[str, str]] = set()
        self.last: Tensor | None = None

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Compare the structure with what was seen."""
        structure = arguments[0]
        if not isinstance(structure, Structure) or not set(structure.symbols) <= self.surroundings.keys():
            return  # of elements that it does not know the environment raises
        for way, told in outside(structure, self.states):
            self._tell("", way, told)
        positions = structure.positions.detach().cpu()
        if self.last is not None and torch.equal(self.last, positions):
            return
        counts, closest = surroundings(structure, self.cutoff)
        for k, (symbol, count, near) in enumerate(zip(structure.symbols, counts.tolist(), closest, strict=True)):
            way, told = self._outside(symbol, count, near)
            if told and (symbol, way) not in self.told:
                of = f" of structure {int(structure.index[k])}" if len(structure) > 1 else ""
                where = f"atom {int(structure.local[k])} ({symbol}){of} is in surroundings that the model was not trained on"
                self._tell(symbol, way, f"{where}: {told}")
                self.last = positions.clone()
                return

    def _tell(self, symbol: str, way: str, message: str) -> None:
        """If it was not told before."""
        if (symbol, way) not in self.told:
            self.told.add((symbol, way))
            warnings.warn(f"{message}; the like is not told again", OutsideTraining, stacklevel=_of_the_caller())

    def _outside(self, symbol: str, count: int, near: dict[str, float]) -> tuple[str, str]:
        """In which way an atom is outside, and what there is to say."""
        seen = self.surroundings[symbol]
        low, high = seen["neighbours"]
        if not low <= count <= high:
            return "neighbours", f"{count} neighbours within {self.cutoff / angstrom:.3g} angstrom, {low} to {high} in training"
        for other, distance in near.items():
            least = seen["closest"].get(other)
            if least is None:
                return other, f"{other} within {self.cutoff / angstrom:.3g} angstrom, none in training"
            if distance < least - 1e-6:
                here, there = _rounded(distance, least)
                return other, f"{other} {here} angstrom away, {there} at the least in training"
        if near and seen["nearest"]:
            nearest = min(near, key=near.__getitem__)
            most = seen["nearest"].get(nearest, max(seen["nearest"].values()))
            if near[nearest] > most + 1e-6:
                here, there = _rounded(near[nearest], most)
                return "nearest", f"its nearest neighbour, {nearest} {here} angstrom away, {there} at the most in training"
        return "", ""


def _rounded(one: float, other: float) -> list[str]:
    """Two distances (bohr) in angstrom, with as many digits as tell them apart, three at least."""
    digits = next((n for n in range(3, 8) if f"{one / angstrom:.{n}f}" != f"{other / angstrom:.{n}f}"), 8)
    return [f"{length / angstrom:.{digits}f}" for length in (one, other)]


def _of_the_caller() -> int:
    """The stack level of the code that asked a model, which is neither torch nor this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("torch", "cgdft"):
        frame, level = frame.f_back, level + 1
    return level
