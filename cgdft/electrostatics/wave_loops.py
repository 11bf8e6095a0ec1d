"""The waves of bulk on a mesh: loops over the influence function and over what a strain does to the energy, compiled by numba.

    G(k) = f U(k) exp(-w^2 k^2) 4 pi / k^2,    k = m . K,    nothing for k = 0,

for whole numbers m with m_z >= 0, as a real transform keeps them. A strain turns k into k - strain . k and leaves U and the
phases of densities as they are.
"""

from __future__ import annotations

import math
from typing import Any

from cgdft.electrostatics.mesh_loops import compiled


@compiled
def _line(to_k: Any, shape: Any, x: int, y: int) -> tuple[float, float, float]:
    """k of m_z = 0 at a point of the mesh along x and y."""
    mx = x if 2 * x < shape[0] else x - shape[0]
    my = y if 2 * y < shape[1] else y - shape[1]
    a = mx * to_k[0, 0] + my * to_k[1, 0]
    b = mx * to_k[0, 1] + my * to_k[1, 1]
    c = mx * to_k[0, 2] + my * to_k[1, 2]
    return a, b, c


@compiled
def influence(to_k: Any, ratio: Any, factor: float, w2: float, shape: Any, found: Any, start: int, stop: int) -> None:
    """found[start:stop] = G.

    Args:
        to_k: K, (3, 3).
        ratio: U along each axis, three arrays.
        factor, w2: f and w^2.
        shape: points of the mesh along x and y.
        found: (n_x, n_y, n_z / 2 + 1), real.
        start, stop: planes along x to treat.
    """
    for x in range(start, stop):
        for y in range(shape[1]):
            a, b, c = _line(to_k, shape, x, y)
            line = 4 * math.pi * factor * ratio[0][x] * ratio[1][y]
            for z in range(found.shape[2]):
                kx, ky, kz = a + z * to_k[2, 0], b + z * to_k[2, 1], c + z * to_k[2, 2]
                k2 = kx * kx + ky * ky + kz * kz
                found[x, y, z] = line * ratio[2][z] * math.exp(-w2 * k2) / k2 if k2 > 0 else 0.0


@compiled
def strained(
    to_k: Any,
    weight: Any,
    p: Any,
    s: Any,
    double: Any,
    kernel: float,
    width: float,
    shape: Any,
    found: Any,
    start: int,
    stop: int,
) -> None:
    """found += derivative of sum_k G Re(p^* s) / V by a strain, for d ln(G / V) = -kernel (dk^2 / k^2 + dV / V) - width dk^2.

    Args:
        to_k, shape, start, stop: as above.
        weight: G.
        p, s: densities in waves.
        double: how many waves each one along z stands for.
        kernel, width: 1 and w^2 for the whole, or 0 for one part of it.
        found: (3, 3).
    """
    for x in range(start, stop):
        for y in range(shape[1]):
            a, b, c = _line(to_k, shape, x, y)
            total = xx = yy = zz = yz = zx = xy = 0.0
            for z in range(weight.shape[2]):
                kx, ky, kz = a + z * to_k[2, 0], b + z * to_k[2, 1], c + z * to_k[2, 2]
                k2 = kx * kx + ky * ky + kz * kz
                u, v = p[x, y, z], s[x, y, z]
                value = double[z] * weight[x, y, z] * (u.real * v.real + u.imag * v.imag)
                slope = 2 * value * (kernel / (k2 if k2 > 0 else 1.0) + width)
                total += value
                xx += slope * kx * kx
                yy += slope * ky * ky
                zz += slope * kz * kz
                yz += slope * ky * kz
                zx += slope * kz * kx
                xy += slope * kx * ky
            found[0, 0] += xx - kernel * total
            found[1, 1] += yy - kernel * total
            found[2, 2] += zz - kernel * total
            found[1, 2] += yz
            found[2, 1] += yz
            found[2, 0] += zx
            found[0, 2] += zx
            found[0, 1] += xy
            found[1, 0] += xy
