"""The short-range part of a Coulomb sum in compiled loops: kernels and vectors of the pairs, each pair once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cgdft.electrostatics.compiled_mesh import frame
from cgdft.electrostatics.threads import in_threads, shares

Array = NDArray[Any]


class CompiledPairs:
    """sum over pairs of p_i T(u_ij) s_j, with the kernel of Gaussians of `width` less that of `smooth` ones.

    Args:
        apart: i, j and u_ij = R_i - R_j of the image, each pair once; None for no pairs but of each site with itself.
        width, smooth: (n,), of the sites and of their smooth part, bohr.
        lmax: highest multipole.
        self_interaction: whether a multipole interacts with itself (not with its images).
        dtype: of the kernels.
    """

    def __init__(
        self,
        apart: tuple[Array, Array, Array] | None,
        width: Tensor,
        smooth: Tensor,
        lmax: int,
        self_interaction: bool,
        dtype: Any = np.float64,
    ) -> None:
        from cgdft.electrostatics import pair_loops  # numba, which small structures do without

        self.loops = pair_loops
        self.lmax, self.threads = lmax, torch.get_num_threads()
        self.frame = frame(torch.eye(3, dtype=torch.float64), lmax).numpy()
        n = len(width)
        i, j, u = np.arange(n, dtype=np.int32), np.arange(n, dtype=np.int32), np.zeros((n, 3))
        if apart is not None:
            a, b, between = apart
            tight = (smooth > width).numpy()
            needed = slice(None) if tight.all() else tight[a] | tight[b]
            i, j, u = np.concatenate([i, a[needed]]), np.concatenate([j, b[needed]]), np.concatenate([u, between[needed]])
        self.i, self.j, self.u = i, j, u
        self.radial = np.empty((len(i), 2 * lmax + 2), dtype)
        squares = (width.numpy() ** 2, smooth.numpy() ** 2)

        def run(share: tuple[int, int]) -> None:
            self.loops.kernels(self.i, self.j, self.u, *squares, True, self.radial, *share)

        self.loops.kernels(i, j, u, *squares, self_interaction, self.radial, 0, n)
        in_threads(run, [(n + start, n + stop) for start, stop in shares(len(i) - n, self.threads)], self.threads)

    def potential(self, s: Array) -> Array:
        """A . s, (n, size)."""
        m = s @ self.frame
        pieces = shares(len(self.i), self.threads)
        felt = [np.zeros((len(s), self.frame.shape[1])) for _ in pieces]

        def run(share: tuple[int, int]) -> None:
            self.loops.potential((0,) * self.lmax, self.i, self.j, self.u, self.radial, m, felt[pieces.index(share)], *share)

        in_threads(run, pieces, self.threads)
        return sum(felt[1:], felt[0]) @ self.frame.T

    def slopes(self, p: Array, s: Array) -> tuple[Array, Array]:
        """Derivatives of p . A . s by the positions, (n, 3), and by a strain of everything, (3, 3)."""
        left, right, same = p @ self.frame, s @ self.frame, p is s
        pieces = shares(len(self.i), self.threads)
        by = [(np.zeros((len(p), 3)), np.zeros((3, 3))) for _ in pieces]

        def run(share: tuple[int, int]) -> None:
            sums = by[pieces.index(share)]
            self.loops.slopes((0,) * self.lmax, self.i, self.j, self.u, self.radial, left, right, same, *sums, *share)

        in_threads(run, pieces, self.threads)
        return sum(one[0] for one in by[1:]) + by[0][0], sum(one[1] for one in by[1:]) + by[0][1]
