"""(K^-1 + s)^-1 with a softness s on a mesh that is even, which is known without iterations: as a whole or within layers.

The same everywhere, it is K / (1 + K s) of each wave. Within layers, as of a slab beside vacuum, K is a circulant matrix
between these for each wave along them, and only the layers E that are soft take part in

    (K^-1 + E s E^T)^-1 = K - K E s^1/2 (1 + s^1/2 E^T K E s^1/2)^-1 s^1/2 E^T K.

Source: of the first, G. P. Kerker, Phys. Rev. B 23, 3082 (1981).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from scipy import fft

from cgdft.electrostatics.compiled_mesh import Array
from cgdft.solvers.coarse_mesh import CoarseMesh

#: Variance of the softness of layers over the square of its mean from which these are worth it, as where a fifth is vacuum.
UNEVEN = 0.2
#: Part of the largest softness of a layer below which one is not soft.
SOFT = 1e-3
#: Most soft layers, and numbers of their matrices (200 MB): of more, matrices take longer than the iterations that they save.
MOST, NUMBERS = 100, 12_500_000
#: Numbers of matrices made at once.
CHUNK = 2_000_000


def screening(mesh: CoarseMesh, softness: Array) -> Screening:
    """That of the softness of each site, (n,), e^2 / hartree, in layers where these differ along one axis only."""
    on_mesh = mesh.spread(softness[:, None])
    profiles = [on_mesh.mean(tuple(b for b in range(3) if b != axis)).clip(min=0) for axis in range(3)]
    uneven = [float(one.var()) > UNEVEN * float(one.mean()) ** 2 for one in profiles]
    axis = int(np.argmax(uneven))
    soft = np.flatnonzero(profiles[axis] > SOFT * profiles[axis].max())
    count = mesh.points // mesh.shape[axis]  # of waves along the layers, twice
    if sum(uneven) == 1 and len(soft) <= MOST and count * len(soft) ** 2 <= 2 * NUMBERS:
        return Layers(mesh.kernel, mesh.shape, profiles[axis], axis, soft)
    return Even(mesh.kernel, mesh.shape, float(softness.sum()) / mesh.points)


class Screening(ABC):
    """(K^-1 + s)^-1 of waves, which are those of values on a mesh with one axis first.

    Args:
        kernel: K of the half of waves that a real transform keeps.
        shape: of the mesh.
        axis: that is first.

    Attributes:
        softness: s, which extends to the mesh.
    """

    softness: Array
    #: In which waves are held.
    dtype: ClassVar[Any] = np.float32

    def __init__(self, kernel: Array, shape: tuple[int, ...], axis: int = 0) -> None:
        self.axis, self.threads = axis, torch.get_num_threads()
        self.kernel = kernel
        self.shape = (shape[axis], *(shape[a] for a in range(3) if a != axis))
        self.double = np.full(self.shape[2] // 2 + 1, 2.0, np.float32)  # a wave stands for its opposite
        self.double[:: self.shape[2] // 2 if self.shape[2] % 2 == 0 else len(self.double)] = 1.0

    def waves(self, values: Array) -> Array:
        """Of values on the mesh."""
        return fft.rfftn(np.moveaxis(values, self.axis, 0).astype(self.dtype), workers=self.threads)

    def values(self, waves: Array) -> Array:
        """The reverse."""
        values = fft.irfftn(waves, s=self.shape, workers=self.threads, overwrite_x=True)
        return np.ascontiguousarray(np.moveaxis(values, 0, self.axis), np.float32)

    def felt(self, waves: Array) -> float:
        """Square of the norm of K r, r given by its waves."""
        return float(((np.abs(waves) * self.kernel) ** 2 @ self.double).sum()) / math.prod(self.shape)

    @abstractmethod
    def __call__(self, waves: Array) -> Array:
        """(K^-1 + s)^-1 r on the mesh, r given by its waves."""


class Even(Screening):
    """With the same softness everywhere."""

    def __init__(self, kernel: Array, shape: tuple[int, ...], softness: float) -> None:
        super().__init__(kernel, shape)
        self.softness = np.full(1, softness, np.float32)
        self.screened = self.kernel / (1 + self.kernel * self.softness)

    def __call__(self, waves: Array) -> Array:
        """(K^-1 + s)^-1 r."""
        return self.values(waves * self.screened)


class Layers(Screening):
    """With a softness of each layer across an axis, (n,), of which those numbered `soft` count; in float64.

    What long waves feel nearly cancels with what they induce.
    """

    dtype = np.float64

    def __init__(self, kernel: Array, shape: tuple[int, ...], softness: Array, axis: int, soft: Array) -> None:
        super().__init__(kernel, shape, axis)
        self.kernel = self.waves(fft.irfftn(kernel.astype(np.float64), s=shape, workers=self.threads)).real
        n, self.soft = self.shape[0], soft
        only = np.zeros(n, np.float32)
        only[soft] = softness[soft]
        self.softness = only.reshape([-1 if a == axis else 1 for a in range(3)])
        between = torch.from_numpy(fft.ifft(self.kernel, axis=0).reshape(n, -1).T.copy())
        place, root = torch.from_numpy((soft[:, None] - soft) % n), torch.from_numpy(softness[soft].astype(np.float64)).sqrt()
        self.answer = np.empty((len(between), len(soft), len(soft)), np.complex128)
        pieces = between.split(max(1, CHUNK // len(soft) ** 2))
        for made, one in zip(torch.from_numpy(self.answer).split(len(pieces[0])), pieces, strict=True):
            inside = root[:, None] * one[:, place] * root
            inside.diagonal(dim1=1, dim2=2).add_(1.0)
            half = torch.linalg.solve_triangular(torch.linalg.cholesky(inside), torch.diag(root).to(inside), upper=False)
            made.copy_(half.mH @ half)

    def __call__(self, waves: Array) -> Array:
        """(K^-1 + s)^-1 r."""
        felt = waves * self.kernel
        moved = fft.ifft(felt, axis=0, workers=self.threads)[self.soft].reshape(len(self.soft), -1).T[..., None]
        induced = np.zeros_like(felt)
        induced[self.soft] = np.matmul(self.answer, moved)[..., 0].T.reshape(-1, *felt.shape[1:])
        felt -= self.kernel * fft.fft(induced, axis=0, workers=self.threads, overwrite_x=True)
        return self.values(felt)
