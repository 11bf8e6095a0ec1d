"""How the Coulomb sums of one structure are divided into pairs and a mesh: as is expected to be fastest, within memory."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cgdft.electrostatics.boundary import Box
from cgdft.electrostatics.coulomb import decay
from cgdft.electrostatics.mesh import choose
from cgdft.electrostatics.mesh_error import estimated_error

#: Measured times, ns: of a pair with its share of the setup, for each l; of a mesh point around a site; of the transforms of a
#: mesh point, for each doubling of their number. Only the speed depends on them.
PAIR, SITE, POINT = (30.0, 40.0, 60.0), 1.5, {torch.float64: 1.0, torch.float32: 0.5}
#: Numbers of the size of the mesh that are held at once, and numbers held of a pair of monopoles.
HELD, HELD_OF_PAIR = 6, 6
#: Widths of the smooth part that are compared.
STEPS = 40
#: Relative error of what is exact.
ROUNDING = 1e-15
#: Width of a smooth part that is nothing, bohr.
NOTHING = 1e30


@dataclass(frozen=True)
class Plan:
    """How one structure's sums are divided.

    Attributes:
        split: width of the smooth part, bohr.
        box, shape, order: of the mesh and its splines; no points where pairs are everything.
        error: estimated, relative, of potentials.
    """

    split: float
    box: Box
    shape: list[int]
    order: int
    error: float


def divide(
    cell: Tensor, pbc: Tensor, positions: Tensor, width: Tensor, lmax: int, accuracy: float, dtype: Any = np.float64
) -> Plan:
    """The division of the sums that is expected to be fastest.

    Open structures may do without a mesh, as small ones should.

    Raises:
        ValueError: a mesh or pairs that do not fit into memory.
    """
    n, widths = len(width), width.unique()
    narrow, wide = float(widths[0]), float(widths[-1])
    reach, box_of = decay(accuracy, 2 * lmax), Box.growing(cell, pbc, positions)
    around, whole = Surroundings(box_of(2.0), positions), box_of(0.0)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    best, least = math.inf, n * n / 2 * (HELD_OF_PAIR + 2 * lmax) * 8 if not pbc.any() else math.inf
    found: tuple[float, Box, list[int], int] = NOTHING, whole, [], 0
    if least <= memory:
        best = cost_of_all_pairs(n, lmax)
    point = POINT[torch.float32 if np.dtype(dtype) == np.float32 else torch.float64]
    for step in range(STEPS):
        split = narrow * 1.25**step
        near = 0.0 if step == 0 else n * around.within(reach * split * 2)
        if near * PAIR[lmax] > best:
            break
        box = box_of(2 * reach * max(split, wide))
        meshes = len(widths.clamp(min=split).unique())
        mesh, box, shape, order = choose(
            box, (split, max(split, wide)), lmax, 0.5 * accuracy, n * SITE * (lmax + 1), point * meshes
        )
        needed, cost = 8 * (math.prod(shape) * HELD + near / 2 * (HELD_OF_PAIR + 2 * lmax)), mesh + near * PAIR[lmax]
        least = min(least, needed)
        if cost < best and needed <= memory:
            best, found = cost, (split, box, shape, order)
    if best == math.inf:
        raise ValueError(
            f"`structure` must be such that its Coulomb sums fit into memory, got {n} sites of width {narrow:.3g} bohr, which "
            f"need some {least / 1e9:.0f} GB at least; take wider Gaussians, less accuracy or less vacuum"
        )
    split, box, shape, order = found
    error = ROUNDING  # else rounded, so that a cell that breathes needs few of the estimates that are kept
    if shape:
        spacing = max(height / points for height, points in zip(box.heights, shape, strict=True)) / split
        error = estimated_error(order, round(spacing, 3), lmax, box.cosines) + 0.5 * accuracy * (split > narrow)
    return Plan(*found, error)


def cost_of_all_pairs(n: Any, lmax: int) -> Any:
    """Of n sites without a mesh, ns."""
    return n * n * PAIR[lmax]


class Surroundings:
    """How many sites there are around one in a box, images among them, as a mean over the sites."""

    def __init__(self, box: Box, positions: Tensor) -> None:
        self.n, self.heights, self.volume = len(positions), np.array(box.heights), float(box.volume)
        self.periodic = box.periodic.numpy()
        self.fractional = (positions @ torch.linalg.inv(box.cell)).numpy()

    def within(self, cutoff: float) -> float:
        """About how many within a cutoff, from how many share a part of space as wide as it; no more than there are."""
        parts = np.round(self.heights / cutoff).clip(1, 1e6).astype(np.int64)
        x, y, z = (np.floor(self.fractional * parts).astype(np.int64) % parts).T
        place, number = (x * parts[1] + y) * parts[2] + z, int(parts.prod())
        held = np.bincount(place) if number < 4 * self.n else np.unique(place, return_counts=True)[1]
        sharing = max(float(held @ (held - 1)) / self.n, self.n / number)
        images = (2 * cutoff / self.heights[self.periodic] + 1).prod()
        thinner = np.maximum(1.0, cutoff * parts / self.heights)[~self.periodic].prod()  # than a cutoff is all that there is
        part = self.volume / number * float(thinner)
        return min(sharing * 4 / 3 * math.pi * cutoff**3 / part, self.n * float(images))
