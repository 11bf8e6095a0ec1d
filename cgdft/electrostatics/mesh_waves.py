"""The influence function of a particle mesh, G = K U^2 / (sum_m U(k_m)^2)^2 of `mesh.py`, on the half of the waves that a real
transform keeps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor

from cgdft.electrostatics.boundary import Box, square
from cgdft.electrostatics.open_kernel import influence
from cgdft.electrostatics.spline import deconvolution
from cgdft.electrostatics.threads import in_threads, shares

Array = NDArray[Any]
#: Waves treated at once while the influence function is made.
CHUNK = 60_000
#: The last ones are kept of meshes of so many points, for the next step of a trajectory.
RECENT, POINTS = 4, 1_000_000


class MeshWaves:
    """What a mesh multiplies densities in waves by.

    Attributes:
        influence: G exp(-w^2 k^2) of the narrowest width w.
        smooth: exp(-(w_g^2 - w^2) k^2 / 2) of each width; none if there is one.
        double: 2 for waves that stand for their opposite too, else 1, along the last axis.
    """

    def __init__(self, box: Box, shape: tuple[int, ...], order: int, dtype: Any, widths: Array) -> None:
        self.shape, self.order, self.dtype = shape, order, np.dtype(dtype)
        threads, own, half = torch.get_num_threads(), float(widths[0]) ** 2, (*shape[:2], shape[2] // 2 + 1)
        self.influence = np.empty(half, self.dtype)
        self.double = np.full(half[2], 2.0)  # a wave stands for its opposite, which a real transform leaves out
        self.double[0] = 1.0
        if self.shape[2] % 2 == 0:
            self.double[-1] = 1.0
        factor = math.prod(self.shape) / float(box.volume)
        if box.background:
            from cgdft.electrostatics import wave_loops  # numba

            to_k, ratio = reciprocal(box).numpy(), self._ratios()

            def run(share: tuple[int, int]) -> None:
                wave_loops.influence(to_k, ratio, factor, own, self.shape[:2], self.influence, *share)

            in_threads(run, shares(self.shape[0], threads), threads)
        elif box.folded:
            self.influence[:] = influence(box, self.shape, math.sqrt(own), threads)
            self.influence *= self.ratio(slice(None))
        else:
            for part, k in self.planes(box):
                k2 = square(k)
                weight = box.kernel(k, k2) * factor * torch.exp(-own * k2)
                self.influence[part] = weight.numpy().reshape(self.influence[part].shape) * self.ratio(part)
        self.smooth = [] if len(widths) == 1 else [np.empty(half, self.dtype) for _ in widths]
        for part, k in self.planes(box) if self.smooth else ():
            k2 = square(k)
            for width, smooth in zip(widths, self.smooth, strict=True):
                smooth[part] = torch.exp(-0.5 * (float(width) ** 2 - own) * k2).numpy().reshape(smooth[part].shape)

    def _ratios(self) -> tuple[Array, Array, Array]:
        x, y, z = (deconvolution(n, self.order) for n in self.shape)
        return x, y, z[: self.shape[2] // 2 + 1]

    def ratio(self, part: slice) -> Array:
        """U^2 / (sum_m U(k_m)^2)^2 of some planes."""
        x, y, z = self._ratios()
        return x[part, None, None] * y[None, :, None] * z

    def planes(self, box: Box) -> Iterator[tuple[slice, Tensor]]:
        """Planes of the half mesh of waves, with k (points, 3) of each point."""
        to_k = reciprocal(box)
        n = [torch.from_numpy(fft.fftfreq(m, 1 / m)) for m in self.shape[:2]]
        n.append(torch.arange(self.shape[2] // 2 + 1, dtype=torch.float64))
        planes = max(1, CHUNK // (len(n[1]) * len(n[2])))
        for start in range(0, self.shape[0], planes):
            part = slice(start, min(self.shape[0], start + planes))
            x, y, z = (a * row[:, None] for a, row in zip((n[0][part], n[1], n[2]), to_k, strict=True))
            k = x[:, :, None, None] + y[:, None, :, None] + z[:, None, None, :]
            yield part, k.reshape(3, -1).T


def waves_of(box: Box, shape: tuple[int, ...], order: int, dtype: Any, widths: Array) -> MeshWaves:
    """Those of a box without a graph; of small meshes the last ones are kept."""
    if math.prod(shape) > POINTS:
        return MeshWaves(box, shape, order, dtype, widths)
    kind: Any = type(box)  # which says the kernel
    cell, periodic = tuple(box.cell.flatten().tolist()), tuple(box.periodic.tolist())
    return _recent(kind, cell, periodic, box.radius, shape, order, np.dtype(dtype), tuple(widths.tolist()))


@lru_cache(maxsize=RECENT)
def _recent(
    kind: Any,
    cell: tuple[float, ...],
    periodic: tuple[bool, ...],
    radius: float,
    shape: tuple[int, ...],
    order: int,
    dtype: Any,
    widths: tuple[float, ...],
) -> MeshWaves:
    box = kind(torch.tensor(cell, dtype=torch.float64).reshape(3, 3), torch.tensor(periodic), radius)
    return MeshWaves(box, shape, order, dtype, np.array(widths))


def reciprocal(box: Box) -> Tensor:
    """K with k = m . K for whole numbers m, (3, 3)."""
    return 2 * math.pi * torch.linalg.inv(box.cell).T
