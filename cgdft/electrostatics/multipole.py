"""Interaction of two Gaussian multipoles, l <= 2, by derivatives of the interaction of two Gaussian charges.

A multipole of unit moment is a derivative of a Gaussian charge with respect to its centre R,

    g_lm(r - R) = h_lm(d/dR) g_00(r - R),    h_lm(u) = R_lm(u) / (2 l - 1)!!,

with R_lm the real solid harmonics sqrt(4 pi / (2 l + 1)) r^l Y_lm. The h_lm being harmonic polynomials, two of them acting
on a radial function B_0(u) leave, for u = R_i - R_j,

    h_a(d/dR_i) h_b(d/dR_j) B_0(u) = (-1)^l_a  sum_k (-1)^k / k!  (grad^k h_a : grad^k h_b)(u)  B_(l_a + l_b - k)(u),

    B_n(u) = (-1/u d/du)^n B_0(u).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from cgdft.electrostatics.boys import boys

_H = math.sqrt(3) / 2
#: R_2m(u) = u . QUADRUPOLE[m] . u, in e3nn's order (xz, xy, 2yy - xx - zz, yz, zz - xx), (5, 3, 3).
QUADRUPOLE = torch.tensor(
    [
        [[0, 0, _H], [0, 0, 0], [_H, 0, 0]],
        [[0, _H, 0], [_H, 0, 0], [0, 0, 0]],
        [[-0.5, 0, 0], [0, 1, 0], [0, 0, -0.5]],
        [[0, 0, 0], [0, 0, _H], [0, _H, 0]],
        [[-_H, 0, 0], [0, 0, 0], [0, 0, _H]],
    ],
    dtype=torch.float64,
)


def theta(p: Tensor) -> Tensor:
    """The polynomial sum_m p_2m h_2m(u) = u . theta . u as a traceless matrix, (9, ...) -> (3, 3, ...)."""
    return torch.einsum("m...,mab->ab...", p[4:9], QUADRUPOLE.to(p) / 3)


def rotation(turn: Tensor, lmax: int) -> Tensor:
    """D with p(turned) = D p, ((lmax + 1)^2, (lmax + 1)^2), for positions turned by r -> turn . r."""
    q = QUADRUPOLE.to(turn)
    second = torch.einsum("mab,ac,ncd,bd->mn", q, turn, q, turn) * 2 / 3
    return torch.block_diag(torch.ones_like(turn[:1, :1]), *[turn, second][:lmax])


def gaussian_coulomb(r2: Tensor, inverse_width2: Tensor, n: int) -> Tensor:
    """B_m(r), m = 0 .. n, of erf(a r) / r with a^2 = `inverse_width2`; finite at r = 0 and zero for a = 0.

    B_m = (2 a / sqrt(pi)) (2 a^2)^m F_m(a^2 r^2), F the Boys function. Shape (n + 1, ...).
    """
    order = torch.arange(n + 1, dtype=r2.dtype, device=r2.device).reshape(-1, *[1] * r2.ndim)
    prefactor = (2 / math.sqrt(math.pi)) * inverse_width2.sqrt() * (2 * inverse_width2) ** order
    return prefactor * boys(inverse_width2 * r2, n)


def pair_energy(p: Tensor, s: Tensor, u: Tensor, radial: Tensor) -> Tensor:
    """p . T(u) . s for pairs of multipoles p at R_i and s at R_j, u = R_i - R_j; components come first.

    Args:
        p: coefficients ((lmax + 1)^2, ...).
        s: coefficients ((lmax' + 1)^2, ...).
        u: (3, ...).
        radial: B_n(u), (lmax + lmax' + 1, ...).

    Returns:
        (...,), all shapes after the first axis broadcast together.
    """
    left, right = _taylor(p, u), _taylor(s, u)
    energy = torch.zeros((), dtype=u.dtype, device=u.device)
    for l, (h, dh, ddh) in enumerate(left):  # noqa: E741
        row = torch.zeros((), dtype=u.dtype, device=u.device)
        for k, (g, dg, ddg) in enumerate(right):
            row = row + h * g * radial[l + k]
            if dh is not None and dg is not None:
                row = row - (dh * dg).sum(0) * radial[l + k - 1]
            if ddh is not None and ddg is not None:
                row = row + 0.5 * (ddh * ddg).sum((0, 1)) * radial[l + k - 2]
        energy = energy + (-1) ** l * row
    return energy


def _taylor(p: Tensor, u: Tensor) -> list[tuple[Tensor, Tensor | None, Tensor | None]]:
    """Value, gradient and Hessian at u of sum_m p_lm h_lm, for each l."""
    terms: list[tuple[Tensor, Tensor | None, Tensor | None]] = [(p[0], None, None)]
    if len(p) > 1:
        terms.append(((p[1:4] * u).sum(0), p[1:4], None))
    if len(p) > 4:
        matrix = theta(p)
        slope = (matrix * u).sum(1)
        terms.append(((slope * u).sum(0), 2 * slope, 2 * matrix))
    return terms


def fourier(size: int, k: Tensor) -> Tensor:
    """h_lm(-i k) / i^l, (size, K): a multipole's Fourier transform over its Gaussian's, without the factor i^l; k (K, 3)."""
    parts = [torch.ones_like(k[:, :1]).T]
    if size > 1:
        parts.append(-k.T)
    if size > 4:
        parts.append(torch.einsum("mab,ka,kb->mk", QUADRUPOLE.to(k) / 3, k, k))
    return torch.cat(parts)


class _Circle(torch.autograd.Function):
    """cos and sin, each other's derivatives: none is taken twice."""

    @staticmethod
    def forward(ctx: Any, angle: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = angle.cos(), angle.sin()
        ctx.save_for_backward(cos, sin)
        return cos, sin

    @staticmethod
    def backward(ctx: Any, of_cos: Tensor, of_sin: Tensor) -> Tensor:
        cos, sin = ctx.saved_tensors
        return of_sin * cos - of_cos * sin


def circle(angle: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin, differentiable to any order."""
    found: tuple[Tensor, Tensor] = _Circle.apply(angle)  # type: ignore[no-untyped-call]
    return found
