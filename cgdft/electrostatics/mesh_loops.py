"""Spread to and gather from a mesh: the loops over sites, compiled by numba for each order of spline and of derivative.

Both orders are given as tuples of that length, since lengths of tuples are known to the compiler and loops over them become
straight code.

A site at u (mesh units) gives to, and takes from, the n^3 points around it with the weights D M_n(u_x) M_n(u_y) M_n(u_z),
D a derivative. Derivatives by the mesh coordinates are in the order of `spline.POWERS`: value, gradient, second, third ones.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from cgdft.electrostatics.spline import POWERS


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile; keep the machine code on disk where numba finds a folder it may write to."""
    function = inspect.unwrap(function)  # checkers of types wrap what they import
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract", "reassoc", "nsz", "arcp"}, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # "no locator available"
        return numba.njit(**options)(function)


@compiled
def _weights(order: Any, derivatives: Any, rows: Any, t: Any, w: Any) -> None:
    n = len(order)
    for d in range(len(derivatives) + 1):
        for k in range(n):
            w[d, k] = rows[d, d, k]
        for r in range(d + 1, n):
            for k in range(n):
                w[d, k] = w[d, k] * t + rows[d, r, k]


@compiled
def spread(order: Any, derivatives: Any, mesh: Any, rows: Any, u: Any, moments: Any, start: int, stop: int) -> None:
    """mesh += sum over sites start <= a < stop of sum_c moments[a, c] D_c M_n M_n M_n.

    Args:
        order, derivatives: tuples as long as the order n of the spline and the highest derivative.
        mesh: (n_x, n_y, n_z + n - 1), real; the last n - 1 points along z are the first ones, periodically.
        rows: `spline.table(n, derivatives)`, of the type of the mesh.
        u: (sites, 3), 0 <= u < (n_x, n_y, n_z).
        moments: (sites, COUNT[derivatives]).
        start, stop: sites to treat.
    """
    n, top = len(order), len(derivatives) + 1
    count = top * (top + 1) * (top + 2) // 6
    nx, ny, nz = mesh.shape
    flat = mesh.reshape(-1)
    wx, wy, wz = np.empty((top, n), mesh.dtype), np.empty((top, n), mesh.dtype), np.empty((top, n), mesh.dtype)
    lines = np.empty((top, n), mesh.dtype)
    for a in range(start, stop):
        x, y, z = int(u[a, 0]), int(u[a, 1]), int(u[a, 2])
        _weights(order, derivatives, rows, mesh.dtype.type(u[a, 0] - x - 0.5), wx)
        _weights(order, derivatives, rows, mesh.dtype.type(u[a, 1] - y - 0.5), wy)
        _weights(order, derivatives, rows, mesh.dtype.type(u[a, 2] - z - 0.5), wz)
        for i in range(n):
            row = (x + i if x + i < nx else x + i - nx) * ny
            for b in range(top):
                for k in range(n):
                    lines[b, k] = 0
            for c in range(count):
                factor = moments[a, c] * wx[POWERS[c, 0], i]
                for k in range(n):
                    lines[POWERS[c, 1], k] += factor * wz[POWERS[c, 2], k]
            for j in range(n):
                at = (row + (y + j if y + j < ny else y + j - ny)) * nz + z
                for b in range(top):
                    for k in range(n):
                        flat[at + k] += wy[b, j] * lines[b, k]


@compiled
def gather(order: Any, derivatives: Any, mesh: Any, rows: Any, u: Any, moments: Any, start: int, stop: int) -> None:
    """moments[a, c] = sum over points of mesh D_c M_n M_n M_n: the transpose of `spread`; mesh is (n_x, n_y, n_z) here."""
    n, top = len(order), len(derivatives) + 1
    count = top * (top + 1) * (top + 2) // 6
    nx, ny, nz = mesh.shape
    flat = mesh.reshape(-1)
    wx, wy, wz = np.empty((top, n), mesh.dtype), np.empty((top, n), mesh.dtype), np.empty((top, n), mesh.dtype)
    lines = np.empty((top, n), mesh.dtype)
    sums = np.empty((count, n), mesh.dtype)
    for a in range(start, stop):
        x, y, z = int(u[a, 0]), int(u[a, 1]), int(u[a, 2])
        _weights(order, derivatives, rows, mesh.dtype.type(u[a, 0] - x - 0.5), wx)
        _weights(order, derivatives, rows, mesh.dtype.type(u[a, 1] - y - 0.5), wy)
        _weights(order, derivatives, rows, mesh.dtype.type(u[a, 2] - z - 0.5), wz)
        for c in range(count):
            for k in range(n):
                sums[c, k] = 0
        for i in range(n):
            row = (x + i if x + i < nx else x + i - nx) * ny
            for b in range(top):
                for k in range(n):
                    lines[b, k] = 0
            for j in range(n):
                line = (row + (y + j if y + j < ny else y + j - ny)) * nz
                if z + n <= nz:
                    for b in range(top):
                        for k in range(n):
                            lines[b, k] += wy[b, j] * flat[line + z + k]
                else:
                    for b in range(top):
                        for k in range(n):
                            lines[b, k] += wy[b, j] * flat[line + (z + k if z + k < nz else z + k - nz)]
            for c in range(count):
                for k in range(n):
                    sums[c, k] += wx[POWERS[c, 0], i] * lines[POWERS[c, 1], k]
        for c in range(count):
            total = 0.0
            for k in range(n):
                total += sums[c, k] * wz[POWERS[c, 2], k]
            moments[a, c] = total
