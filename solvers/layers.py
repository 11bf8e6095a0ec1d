"""Screening by a softness that is even within layers of a mesh, as of a slab beside vacuum.

For each wave q along the layers, K is a matrix between these, that of a circle, and

    (K^-1 + s)^-1 = K - K s^1/2 (1 + s^1/2 K s^1/2)^-1 s^1/2 K,

s the softness of a point of each layer. Where nothing changes from layer to layer this is Kerker's screening of all waves.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import fft
from torch import Tensor

from cgdft.electrostatics.compiled_mesh import Array

#: Mean square of what the softness of layers differs by, over the mean's, from which layers are worth it; most layers.
UNEVEN, MOST = 0.2, 100
#: Numbers of matrices held at once while these are made.
CHUNK = 4_000_000


class Layers:
    """(K^-1 + s)^-1 on a mesh.

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
        pieces = torch.from_numpy(between).split(max(1, CHUNK // self.n**2))
        self.matrices = torch.cat([_screened(one[:, place], root).to(torch.float32) for one in pieces]).numpy()

    @classmethod
    def of(cls, kernel: Array, softness: Array) -> Layers | None:
        """Those across the only axis along which a softness on the mesh is uneven; None if there is none, skewed or too long.

        Args:
            kernel: K of the half of waves that a real transform keeps.
            softness: on the mesh.
        """
        shape = softness.shape
        profiles = [softness.mean(tuple(b for b in range(3) if b != axis)).clip(min=0) for axis in range(3)]
        uneven = [float(one.var()) > UNEVEN * float(one.mean()) ** 2 for one in profiles]
        axis = int(np.argmax(uneven))
        if sum(uneven) != 1 or shape[axis] > MOST:
            return None
        between = _along(fft.irfftn(kernel.astype(np.float64), s=shape, workers=torch.get_num_threads()), axis)
        skewed = np.abs(between.imag).max() > 1e-6 * np.abs(between.real).max()
        return None if skewed else cls(between.real.copy(), profiles[axis], axis, shape)

    def screened(self, r: Array) -> Array:
        """(K^-1 + s)^-1 r."""
        waves = _along(r, self.axis)[..., None]
        found = np.matmul(self.matrices, waves.view(np.float32)).view(np.complex64)[..., 0].T.reshape(self.n, self.along[0], -1)
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
