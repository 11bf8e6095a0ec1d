"""The tensor product of each channel of a neighbour's features with the spherical harmonics of the way to it."""

from __future__ import annotations

import math

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor, nn


class ChannelProduct(nn.Module):
    """z_c = w sqrt(2 l + 1) sum_ab C_abc x_a Y_b of each channel and path (l_x, l_Y) -> l, w of pair, path and channel.

    e3nn's `TensorProduct` "uvu" with external weights, normalised to components: the same numbers, in less time, since here the
    channels are innermost and the paths of l = 0 need no Clebsch-Gordan coefficients C.

    Args:
        lmax_in: highest l of features x.
        lmax: highest l of harmonics and results; results have parity (-1)^l.

    Attributes:
        paths: (l_x, l_Y, l).
    """

    def __init__(self, lmax_in: int, lmax: int) -> None:
        super().__init__()
        degrees = range(lmax + 1)
        self.paths = [
            (a, b, c)
            for a in range(lmax_in + 1)
            for b in degrees
            for c in degrees
            if abs(a - b) <= c <= a + b and (a + b + c) % 2 == 0
        ]
        for k, (a, b, c) in enumerate(self.paths):
            if a and b:  # else the identity
                coupling = math.sqrt(2 * c + 1) * o3.wigner_3j(a, b, c, dtype=torch.float64)
                self.register_buffer(f"coupling{k}", coupling, persistent=False)

    def forward(
        self,
        x: Float[Tensor, "n_pairs components_in channels"],
        harmonics: Float[Tensor, "n_pairs components"],
        weights: Float[Tensor, "n_pairs n_paths channels"],
    ) -> list[Float[Tensor, "n_pairs components channels"]]:
        """z of each path."""
        features, waves = (one.split(list(range(1, 2 * math.isqrt(one.shape[1]), 2)), 1) for one in (x, harmonics))
        found = []
        for k, ((a, b, c), w) in enumerate(zip(self.paths, weights.unbind(1), strict=True)):
            if b == 0:  # Y_0 = 1
                found.append(features[a] * w[:, None])
            elif a == 0:
                found.append((features[0] * w[:, None]) * waves[b][:, :, None])
            elif c == 0:
                along = waves[b] @ self.get_buffer(f"coupling{k}")[:, :, 0].T
                found.append((features[a] * along[:, :, None]).sum(1, keepdim=True) * w[:, None])
            else:
                mixing = torch.einsum("abc,nb->nca", self.get_buffer(f"coupling{k}"), waves[b])
                found.append((mixing @ features[a]) * w[:, None])
        return found


def components_first(h: Float[Tensor, "n_atoms features"], channels: int) -> Tensor:
    """From e3nn's order, l = 0, 1, ... with components innermost, to (n_atoms, components, channels)."""
    lmax = math.isqrt(h.shape[1] // channels) - 1
    parts = h.split([channels * width for width in range(1, 2 * lmax + 2, 2)], 1)
    return torch.cat([part.unflatten(1, (channels, -1)).transpose(1, 2) for part in parts], 1)


def components_last(parts: list[Float[Tensor, "n_atoms components channels"]]) -> Tensor:
    """The reverse, of any l one after the other."""
    return torch.cat([part.transpose(1, 2).flatten(1) for part in parts], 1)
