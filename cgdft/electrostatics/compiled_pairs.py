"""The short-range part of a periodic Coulomb sum in compiled loops: kernels and vectors of the pairs, kept row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cgdft.electrostatics.compiled_mesh import frame, in_threads, shares
from cgdft.electrostatics.multipole import gaussian_coulomb
from cgdft.electrostatics.pair_loops import potential, slopes
from cgdft.electrostatics.pairs import neighbours

if TYPE_CHECKING:
    from cgdft.structure import Structure

Array = NDArray[Any]
#: Pairs whose kernels are computed at once.
CHUNK = 500_000


class CompiledPairs:
    """sum over pairs within a cutoff of p_i T(u_ij) s_j, with the kernel of Gaussians of `width` less that of `smooth` ones.

    Args:
        structure, s: the structure and its place in the batch.
        positions: (n, 3), of its sites, bohr.
        width, smooth: (n,), of the sites and of their smooth part, bohr.
        lmax: highest multipole.
        cutoff: bohr; may be longer than the cell; zero for no pairs but of each site with itself.
        self_interaction: whether a multipole interacts with itself (not with its images).
        dtype: of the kernels.
    """

    def __init__(
        self,
        structure: Structure,
        s: int,
        width: Tensor,
        smooth: Tensor,
        lmax: int,
        cutoff: float,
        self_interaction: bool,
        dtype: Any = np.float64,
    ) -> None:
        self.lmax, self.dtype = lmax, np.dtype(dtype)
        self.threads = torch.get_num_threads()
        self.width, self.smooth, self.self_interaction = width, smooth, self_interaction
        self.frame = frame(torch.eye(3, dtype=torch.float64), lmax).numpy()
        n = len(width)
        i, j, u = np.arange(n), np.arange(n), np.zeros((n, 3))
        if cutoff > 0:
            a, b, apart = neighbours(structure, s, cutoff)
            tight = (smooth > width).numpy()
            needed = slice(None) if tight.all() else tight[a] | tight[b]
            i, j, u = np.concatenate([i, a[needed]]), np.concatenate([j, b[needed]]), np.concatenate([u, apart[needed]])
        order = np.argsort(i, kind="stable")
        self.first = np.searchsorted(i[order], np.arange(n + 1))
        self.j, self.u = j[order].astype(np.int32), u[order]
        self.radial = self._kernels(2 * lmax)

    def potential(self, s: Array) -> Array:
        """A . s, (n, size)."""
        m, felt = s @ self.frame, np.zeros((len(s), self.frame.shape[1]))

        def run(share: tuple[int, int]) -> None:
            potential((0,) * self.lmax, self.first, self.j, self.u, self.radial, m, felt, *share)

        in_threads(run, shares(len(s), self.threads), self.threads)
        return felt @ self.frame.T

    def slopes(self, p: Array, s: Array) -> tuple[Array, Array]:
        """Derivatives of p . A . s by the positions, (n, 3), and by a strain of everything, (3, 3)."""
        left, right = p @ self.frame, s @ self.frame
        radial = self._kernels(2 * self.lmax + 1)
        by_position = np.zeros((len(p), 3))
        pieces = shares(len(p), self.threads)
        by_strain = [np.zeros((3, 3)) for _ in pieces]

        def run(share: tuple[int, int]) -> None:
            strain = by_strain[pieces.index(share)]
            slopes((0,) * self.lmax, self.first, self.j, self.u, radial, left, right, by_position, strain, *share)

        in_threads(run, pieces, self.threads)
        return by_position, sum(by_strain, np.zeros((3, 3)))

    def _kernels(self, order: int) -> Array:
        """B_0 ... B_order of each pair."""
        result = np.empty((len(self.j), order + 1), self.dtype)
        i = np.repeat(np.arange(len(self.width)), np.diff(self.first))
        wide, smooth = self.width.numpy() ** 2, self.smooth.numpy() ** 2
        for start in range(0, len(self.j), CHUNK):
            part = slice(start, start + CHUNK)
            a, b, u = i[part], self.j[part], self.u[part]
            r2 = torch.from_numpy((u * u).sum(1))
            whole = gaussian_coulomb(r2, torch.from_numpy(1 / (2 * (wide[a] + wide[b]))), order)
            if not self.self_interaction:
                whole = torch.where(r2 == 0, 0.0, whole)
            whole = whole - gaussian_coulomb(r2, torch.from_numpy(1 / (2 * (smooth[a] + smooth[b]))), order)
            result[part] = whole.numpy().T
        return result
