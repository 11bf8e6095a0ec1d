"""(K^-1 + s)^-1 with a softness s on a mesh that is even, which is known without iterations: as a whole or within layers.

The same everywhere, it is K / (1 + K s) of each wave. Within layers, as of a slab beside vacuum, K is a circulant matrix
between these for each wave along them, and

    (K^-1 + s)^-1 = K - K s^1/2 (1 + s^1/2 K s^1/2)^-1 s^1/2 K.

Source: of the first, G. P. Kerker, Phys. Rev. B 23, 3082 (1981).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import fft
from torch import Tensor

from cgdft.electrostatics.compiled_mesh import Array
from cgdft.solvers.coarse_mesh import CoarseMesh

#: Variance of the softness of layers over the square of its mean from which these are worth it, as where a fifth is vacuum.
UNEVEN = 0.2
#: Most layers, and numbers of their matrices (200 MB): of more, matrices take longer than the iterations that they save.
MOST, NUMBERS = 100, 50_000_000
#: Numbers of matrices made at once.
CHUNK = 4_000_000


def screening(mesh: CoarseMesh, softness: Array) -> Even | Layers:
    """That of the softness of each site, (n,), e^2 / hartree, in layers where these differ along one axis only."""
    on_mesh, shape = mesh.spread(softness[:, None]), mesh.shape
    profiles = [on_mesh.mean(tuple(b for b in range(3) if b != axis)).clip(min=0) for axis in range(3)]
    uneven = [float(one.var()) > UNEVEN * float(one.mean()) ** 2 for one in profiles]
    axis = int(np.argmax(uneven))
    if sum(uneven) == 1 and shape[axis] <= MOST and mesh.points * shape[axis] <= 2 * NUMBERS:
        between = _along(fft.irfftn(mesh.kernel.astype(np.float64), s=shape, workers=torch.get_num_threads()), axis)
        if np.abs(between.imag).max() <= 1e-6 * np.abs(between.real).max():  # not where they are skewed
            return Layers(between.real.copy(), profiles[axis], axis, shape)
    return Even(mesh.kernel, float(softness.sum()) / mesh.points, shape)


class Even:
    """(K^-1 + s)^-1 on a mesh, s the same of every point.

    Args:
        kernel: K of the half of waves that a real transform keeps.
        softness: s.
        shape: of the mesh.
    """

    def __init__(self, kernel: Array, softness: float, shape: tuple[int, ...]) -> None:
        self.softness, self.shape = np.float32(softness), shape
        self.screened = kernel / (1 + kernel * self.softness)

    def __call__(self, r: Array, waves: Array) -> Array:
        """(K^-1 + s)^-1 r, `waves` those of r."""
        return fft.irfftn(waves * self.screened, s=self.shape, workers=torch.get_num_threads(), overwrite_x=True)


class Layers:
    """(K^-1 + s)^-1 on a mesh, s the same within each layer.

    Args:
        between: K of each wave along the layers as a function of the layers between two, (waves, n), the same both ways.
        softness: s of a point of each layer, (n,).
        axis: across the layers.
        shape: of the mesh.
    """

    def __init__(self, between: Array, softness: Array, axis: int, shape: tuple[int, ...]) -> None:
        self.axis, self.n, self.along = axis, shape[axis], tuple(shape[a] for a in range(3) if a != axis)
        self.softness = softness.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        place = (torch.arange(self.n)[:, None] - torch.arange(self.n)) % self.n
        root = torch.from_numpy(softness.astype(np.float64)).sqrt()
        self.matrices = np.empty((len(between), self.n, self.n), np.float32)
        pieces = torch.from_numpy(between).split(max(1, CHUNK // self.n**2))
        for made, one in zip(torch.from_numpy(self.matrices).split(len(pieces[0])), pieces, strict=True):
            made.copy_(_screened(one[:, place], root))

    def __call__(self, r: Array, waves: Array) -> Array:
        """(K^-1 + s)^-1 r, `waves` those of r."""
        along = _along(r, self.axis)[..., None]
        found = np.matmul(self.matrices, along.view(np.float32)).view(np.complex64)[..., 0].T.reshape(self.n, self.along[0], -1)
        values = fft.irfftn(found, s=self.along, axes=(1, 2), workers=torch.get_num_threads())
        return np.ascontiguousarray(np.moveaxis(values, 0, self.axis))


def _along(values: Array, axis: int) -> Array:
    """Waves along layers, (waves, n)."""
    waves = fft.rfftn(np.moveaxis(values, axis, 0), axes=(1, 2), workers=torch.get_num_threads())
    return np.ascontiguousarray(waves.reshape(values.shape[axis], -1).T)


def _screened(between: Tensor, root: Tensor) -> Tensor:
    """K - K s^1/2 (1 + s^1/2 K s^1/2)^-1 s^1/2 K of each wave, K symmetric but for rounding."""
    pulled = root[:, None] * between
    inside = pulled * root
    inside.diagonal(dim1=1, dim2=2).add_(1.0)
    half = torch.linalg.solve_triangular(torch.linalg.cholesky(inside), pulled, upper=False)
    return between - half.transpose(1, 2) @ half
