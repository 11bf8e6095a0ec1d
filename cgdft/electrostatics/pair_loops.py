"""Sums over pairs of multipoles, compiled by numba: the formulas of `boys.py` and `multipole.py`.

Multipoles come as charge q, dipole d and the matrix Q of the polynomial u . Q . u, in the order of `spline.POWERS` with
off-diagonal elements of Q counted twice: the factors of potential, gradient and second derivatives in a site's energy.
"""

from __future__ import annotations

import math
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
def _boys(t: Any, n: int, f: Any) -> None:
    """F_0(t) ... F_n(t) of `boys.py`: upwards from the error function, below t = 2 downwards from a series."""
    decay = math.exp(-t)
    if t > 2.0:
        root = math.sqrt(t)
        f[0] = 0.5 * math.sqrt(math.pi) * math.erf(root) / root
        for m in range(n):
            f[m + 1] = ((2 * m + 1) * f[m] - decay) / (2 * t)
        return
    term = total = 1.0 / (2 * n + 1)
    k = 1
    while term > 1e-17 * total:
        term *= 2 * t / (2 * n + 2 * k + 1)
        total += term
        k += 1
    f[n] = decay * total
    for m in range(n, 0, -1):
        f[m - 1] = (2 * t * f[m] + decay) / (2 * m - 1)


@compiled
def kernels(i: Any, j: Any, u: Any, wide2: Any, smooth2: Any, whole: bool, radial: Any, start: int, stop: int) -> None:
    """radial[pair] = B_0 ... of squared widths `wide2` less those of `smooth2`; without `whole`, only the latter."""
    n = radial.shape[1] - 1
    f = np.empty(n + 1)
    for pair in range(start, stop):
        a, b = i[pair], j[pair]
        r2 = u[pair, 0] ** 2 + u[pair, 1] ** 2 + u[pair, 2] ** 2
        for m in range(n + 1):
            radial[pair, m] = 0.0
        for turn in range(2):
            if turn == 0 and not whole:
                continue
            inverse = 0.5 / (wide2[a] + wide2[b] if turn == 0 else smooth2[a] + smooth2[b])
            _boys(inverse * r2, n, f)
            factor = 2 / math.sqrt(math.pi) * math.sqrt(inverse) * (1.0 if turn == 0 else -1.0)
            for m in range(n + 1):
                radial[pair, m] += factor * f[m]
                factor *= 2 * inverse


@compiled
def _felt(l: Any, v: Any, b: Any, g: Any, dg: Any, ddg: Any, sign: float, out: Any) -> None:  # noqa: E741
    """out += potential, gradient and second derivatives at `sign` v of a source whose polynomials are known."""
    top = len(l)
    x0 = x1 = x2 = 0.0
    for k in range(top + 1):
        x0 += g[k] * b[k]
        x1 += g[k] * b[k + 1]
        if top > 1:
            x2 += g[k] * b[k + 2]
    out[0] += x0
    for a in range(3):
        slope = dg[1, a] * b[1]
        if top > 1:
            slope += dg[2, a] * b[2]
        out[1 + a] += slope - sign * v[a] * x1
    if top > 1:
        c = 4
        for a in range(3):
            one = dg[1, a] * b[2] + dg[2, a] * b[3]
            for d in range(a, 3):
                two = dg[1, d] * b[2] + dg[2, d] * b[3]
                out[c] += v[a] * v[d] * x2 - sign * (v[a] * two + v[d] * one) + ddg[a, d] * b[2]
                c += 1


@compiled
def potential(
    l: Any,  # noqa: E741
    i: Any,
    j: Any,
    u: Any,
    radial: Any,
    m: Any,
    felt: Any,
    start: int,
    stop: int,
) -> None:
    """felt[i] += T(u) m_j and felt[j] += T(-u) m_i of pairs start ... stop; once for a site with itself.

    Args:
        l: tuple as long as the highest l.
        i, j: (pairs,), the sites, each pair once.
        u: (pairs, 3), R_i - R_j.
        radial: (pairs, 2 l + 2), B_n(u).
        m, felt: (n, 1, 4 or 10).
        start, stop: pairs to treat.
    """
    top = len(l)
    g, dg, ddg, back = np.zeros(3), np.zeros((3, 3)), np.zeros((3, 3)), np.zeros(3)
    for pair in range(start, stop):
        a, c = i[pair], j[pair]
        v, b = u[pair], radial[pair]
        itself = a == c and v[0] == 0 and v[1] == 0 and v[2] == 0
        if top == 0:
            felt[a, 0] += b[0] * m[c, 0]
            if not itself:
                felt[c, 0] += b[0] * m[a, 0]
            continue
        _source(l, m[c], v, g, dg, ddg)
        _felt(l, v, b, g, dg, ddg, 1.0, felt[a])
        if not itself:
            for d in range(3):
                back[d] = -v[d]
            _source(l, m[a], back, g, dg, ddg)
            _felt(l, v, b, g, dg, ddg, -1.0, felt[c])


@compiled
def slopes(
    l: Any,  # noqa: E741
    i: Any,
    j: Any,
    u: Any,
    radial: Any,
    p: Any,
    s: Any,
    same: bool,
    by_position: Any,
    by_strain: Any,
    start: int,
    stop: int,
) -> None:
    """by_position += d/dR and by_strain += d/d(strain) of sum p_i T(u) s_j over both orders of pairs start ... stop.

    `same`: p is s.
    """
    top = len(l)
    g, dg, ddg = np.zeros(3), np.zeros((3, 3)), np.zeros((3, 3))
    h, dh, ddh = np.zeros(3), np.zeros((3, 3)), np.zeros((3, 3))
    f = np.zeros(3)
    for pair in range(start, stop):
        a, c = i[pair], j[pair]
        v, b = u[pair], radial[pair]
        f[:] = 0.0
        for turn in range(1 if same else 2):
            if top == 0:
                along = (p[a, 0] * s[c, 0] if turn == 0 else s[a, 0] * p[c, 0]) * b[1]
                for d in range(3):
                    f[d] -= v[d] * along
                continue
            if turn == 0:
                _source(l, p[a], v, h, dh, ddh)
                _source(l, s[c], v, g, dg, ddg)
            else:
                _source(l, s[a], v, h, dh, ddh)
                _source(l, p[c], v, g, dg, ddg)
            for n in range(top + 1):
                sign = -1.0 if n == 1 else 1.0
                for k in range(top + 1):
                    along = h[n] * g[k] * b[n + k + 1]
                    if n > 0 and k > 0:
                        along -= (dh[n, 0] * dg[k, 0] + dh[n, 1] * dg[k, 1] + dh[n, 2] * dg[k, 2]) * b[n + k]
                    if n == 2 and k == 2:
                        contracted = 0.0
                        for d in range(3):
                            for e in range(3):
                                contracted += ddh[d, e] * ddg[d, e]
                        along += 0.5 * contracted * b[n + k - 1]
                    for d in range(3):
                        slope = dh[n, d] * g[k] * b[n + k] + h[n] * dg[k, d] * b[n + k] - v[d] * along
                        if n == 2 and k > 0:
                            slope -= (ddh[d, 0] * dg[k, 0] + ddh[d, 1] * dg[k, 1] + ddh[d, 2] * dg[k, 2]) * b[n + k - 1]
                        if k == 2 and n > 0:
                            slope -= (ddg[d, 0] * dh[n, 0] + ddg[d, 1] * dh[n, 1] + ddg[d, 2] * dh[n, 2]) * b[n + k - 1]
                        f[d] += sign * slope
        for d in range(3):
            if same:
                f[d] *= 2
            by_position[a, d] += f[d]
            by_position[c, d] -= f[d]
            for e in range(3):
                by_strain[e, d] += v[e] * f[d]
