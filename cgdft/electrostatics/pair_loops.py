"""Sums over pairs of multipoles, compiled by numba: the formulas of `multipole.py`, one row of pairs a site.

Multipoles come as charge q, dipole d and the matrix Q of the polynomial u . Q . u, in the order of `mesh_loops.POWERS` with
off-diagonal elements of Q counted twice: the factors of potential, gradient and second derivatives in a site's energy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cgdft.electrostatics.mesh_loops import compiled


@compiled
def _source(l: Any, m: Any, u: Any, g: Any, dg: Any, ddg: Any) -> None:  # noqa: E741
    """Value g[k], gradient dg[k] and Hessian ddg (k = 2) at u of the polynomials of a source, k = 0 .. l."""
    g[0] = m[0]
    if len(l) > 0:
        g[1] = m[1] * u[0] + m[2] * u[1] + m[3] * u[2]
        for a in range(3):
            dg[1, a] = m[1 + a]
    if len(l) > 1:
        ddg[0, 0], ddg[1, 1], ddg[2, 2] = 2 * m[4], 2 * m[7], 2 * m[9]
        ddg[0, 1] = ddg[1, 0] = m[5]
        ddg[0, 2] = ddg[2, 0] = m[6]
        ddg[1, 2] = ddg[2, 1] = m[8]
        g[2] = 0.0
        for a in range(3):
            dg[2, a] = ddg[a, 0] * u[0] + ddg[a, 1] * u[1] + ddg[a, 2] * u[2]
            g[2] += 0.5 * dg[2, a] * u[a]


@compiled
def potential(l: Any, first: Any, j: Any, u: Any, radial: Any, m: Any, felt: Any, start: int, stop: int) -> None:  # noqa: E741
    """felt[i] += T(u_ij) m_j: potential, gradient and second derivatives at each site start <= i < stop.

    Args:
        l: tuple as long as the highest l.
        first: (n + 1,), where the pairs of each site begin.
        j: (pairs,), the other site.
        u: (pairs, 3), R_i - R_j; not looked at for l = 0.
        radial: (pairs, 2 l + 1), B_n(u).
        m, felt: (n, 1, 4 or 10).
        start, stop: sites to treat.
    """
    top = len(l)
    g, dg, ddg = np.zeros(3), np.zeros((3, 3)), np.zeros((3, 3))
    for i in range(start, stop):
        for pair in range(first[i], first[i + 1]):
            if top == 0:
                felt[i, 0] += radial[pair, 0] * m[j[pair], 0]
                continue
            v, b = u[pair], radial[pair]
            _source(l, m[j[pair]], v, g, dg, ddg)
            x0 = x1 = x2 = 0.0
            for k in range(top + 1):
                x0 += g[k] * b[k]
                x1 += g[k] * b[k + 1]
                if top > 1:
                    x2 += g[k] * b[k + 2]
            felt[i, 0] += x0
            for a in range(3):
                y0 = dg[1, a] * b[1]
                if top > 1:
                    y0 += dg[2, a] * b[2]
                felt[i, 1 + a] += y0 - v[a] * x1
            if top > 1:
                c = 4
                for a in range(3):
                    ya = dg[1, a] * b[2] + dg[2, a] * b[3]
                    for d in range(a, 3):
                        yd = dg[1, d] * b[2] + dg[2, d] * b[3]
                        felt[i, c] += v[a] * v[d] * x2 - v[a] * yd - v[d] * ya + ddg[a, d] * b[2]
                        c += 1


@compiled
def slopes(
    l: Any,  # noqa: E741
    first: Any,
    j: Any,
    u: Any,
    radial: Any,
    p: Any,
    s: Any,
    by_position: Any,
    by_strain: Any,
    start: int,
    stop: int,
) -> None:
    """by_position[i] += d/dR_i and by_strain += d/d(strain) of sum_ij p_i T(u_ij) s_j, T symmetric; `radial` to 2 l + 1."""
    top = len(l)
    g, dg, ddg = np.zeros(3), np.zeros((3, 3)), np.zeros((3, 3))
    h, dh, ddh = np.zeros(3), np.zeros((3, 3)), np.zeros((3, 3))
    f = np.zeros(3)
    for i in range(start, stop):
        for pair in range(first[i], first[i + 1]):
            v, b = u[pair], radial[pair]
            for turn in range(2):
                if turn == 0:
                    _source(l, p[i], v, h, dh, ddh)
                    _source(l, s[j[pair]], v, g, dg, ddg)
                else:
                    _source(l, s[i], v, h, dh, ddh)
                    _source(l, p[j[pair]], v, g, dg, ddg)
                f[:] = 0.0
                for n in range(top + 1):
                    sign = -1.0 if n == 1 else 1.0
                    for k in range(top + 1):
                        along = h[n] * g[k] * b[n + k + 1]
                        if n > 0 and k > 0:
                            along -= (dh[n, 0] * dg[k, 0] + dh[n, 1] * dg[k, 1] + dh[n, 2] * dg[k, 2]) * b[n + k]
                        if n == 2 and k == 2:
                            contracted = 0.0
                            for a in range(3):
                                for d in range(3):
                                    contracted += ddh[a, d] * ddg[a, d]
                            along += 0.5 * contracted * b[n + k - 1]
                        for a in range(3):
                            slope = dh[n, a] * g[k] * b[n + k] + h[n] * dg[k, a] * b[n + k] - v[a] * along
                            if n == 2 and k > 0:
                                slope -= (ddh[a, 0] * dg[k, 0] + ddh[a, 1] * dg[k, 1] + ddh[a, 2] * dg[k, 2]) * b[n + k - 1]
                            if k == 2 and n > 0:
                                slope -= (ddg[a, 0] * dh[n, 0] + ddg[a, 1] * dh[n, 1] + ddg[a, 2] * dh[n, 2]) * b[n + k - 1]
                            f[a] += sign * slope
                for a in range(3):
                    by_position[i, a] += f[a]
                if turn == 0:
                    for a in range(3):
                        for d in range(3):
                            by_strain[a, d] += v[a] * f[d]
