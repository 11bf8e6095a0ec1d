"""The smooth part of the Coulomb energy of one periodic structure, summed over waves.

    p . A . s = 2/V sum_k K(k) Re[P(k)* S(k)] over one of k and -k each,
    S(k) = sum_j sum_lm s_j,lm h_lm(-i k) exp(-sigma_j^2 k^2 / 2) exp(-i k R_j),

K the kernel of the boundary conditions, h_lm the polynomials of `multipole`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cgdft.electrostatics.boundary import Box, square
from cgdft.electrostatics.multipole import circle, fourier

#: Numbers held at once.
CHUNK = 4_000_000
#: The same of the factors of a matrix product, which should stay in the processor's cache.
CACHE = 125_000
#: Of a symmetric matrix made at once.
ROWS = 64


def waves_within(box: Box, reach: float, *narrowest: float) -> float:
    """About how many waves there are in a box that those a sum takes are chosen from; of targets and sources the narrowest."""
    limit = reach * math.sqrt(2) / math.hypot(*narrowest)
    return float(box.volume.detach()) * (limit / math.pi) ** 3


class Centres(NamedTuple):
    """Positions (n, 3) and widths (n,) of Gaussians."""

    positions: Float[Tensor, "n 3"]
    width: Float[Tensor, " n"]


class _Piece(NamedTuple):
    """Waves (K, 3), their weights (K,), and cos and sin of k R, (n, K) each, times exp(-sigma^2 k^2 / 2) if widths differ."""

    k: Tensor
    weight: Tensor
    target: tuple[Tensor, Tensor]
    source: tuple[Tensor, Tensor]


class WaveSum:
    """p . A . s of multipoles s at `sources` and p at `targets`; phases are kept where there are few.

    Args:
        targets, sources: centres; the same object if they are the same.
        box: in which the waves are.
        reach: x beyond which exp(-x^2) does not count.
    """

    def __init__(self, targets: Centres, sources: Centres, box: Box, reach: float) -> None:
        self.targets, self.sources, self.box, self.reach = targets, sources, box, reach
        self.k, self.weight = self._waves()
        widths = torch.cat([targets.width, sources.width])
        self._alike = not widths.requires_grad and len(widths) > 0 and bool((widths == widths[0]).all())
        if self._alike:  # in the weights, once for all centres
            self.weight = self.weight * torch.exp(-(widths[0] ** 2) * self.k.square().sum(1))
        most = max(1, CHUNK // max(len(targets.positions), len(sources.positions), 1))
        self._kept = [self._piece(slice(None))] if len(self.k) <= most else None
        self._parts = slices(len(self.k), most)

    def bilinear(self, p: Float[Tensor, "nt size_t"], s: Float[Tensor, "ns size_s"]) -> Float[Tensor, ""]:
        """p . A . s, hartree."""
        total = p.new_zeros(())
        for piece in self._pieces():
            left = _transform(p, piece.k, piece.target)
            right = left if p is s and self.targets is self.sources else _transform(s, piece.k, piece.source)
            total = total + (piece.weight * (left * right).sum(0)).sum()
        return total

    def matrix(self, size: int) -> Float[Tensor, "n n"]:
        """A among the sources, coefficients of an atom adjoining."""
        m = len(self.sources.positions) * size
        strips = slices(m, max(ROWS, -(-m // 8)))
        lower = [self.k.new_zeros(rows.stop - rows.start, rows.stop) for rows in strips]  # of what is symmetric
        for piece in self._pieces():
            for part in slices(len(piece.k), max(1, CACHE // max(m, 1))):
                cos, sin = (one[:, None, part] for one in piece.source)
                a = fourier(size, piece.k[part])
                for parts in ([cos, a[1:4] * sin, -a[4:] * cos], [-sin, a[1:4] * cos, a[4:] * sin]):
                    wave = torch.cat(parts, 1).reshape(m, -1)
                    weighted = (wave * piece.weight[part]).T
                    for one, rows in zip(lower, strips, strict=True):
                        one.addmm_(wave[rows], weighted[:, : rows.stop])
        block = torch.cat([torch.nn.functional.pad(one, (0, m - one.shape[1])) for one in lower])
        return block.tril() + block.tril(-1).T

    def _waves(self) -> tuple[Tensor, Tensor]:
        """Half of the waves, (K, 3), and their weights, (K,)."""
        cell, widths = self.box.cell, (self.targets.width.detach(), self.sources.width.detach())
        to_k = 2 * math.pi * torch.linalg.inv(cell).T
        first = float(to_k.detach().norm(dim=1).min())  # what the other waves are compared with
        narrowest = (min(width.tolist(), default=math.inf) for width in widths)
        limit = math.hypot(self.reach * math.sqrt(2) / math.hypot(*narrowest), first)
        most = (limit * cell.detach().norm(dim=1) / (2 * math.pi)).floor().long().tolist()
        whole = torch.cartesian_prod(*[torch.arange(-m, m + 1, device=cell.device) for m in most])
        a, b, c = whole.T
        whole = whole[(a > 0) | ((a == 0) & ((b > 0) | ((b == 0) & (c >= 0))))].to(cell)
        whole = whole[(whole @ to_k.detach()).square().sum(1) <= limit**2]
        k = whole @ to_k
        half = torch.where((whole == 0).all(1), 0.5, 1.0)  # every wave but k = 0 stands for its opposite too
        return k, 2 * half * self.box.kernel(k, square(k)) / self.box.volume

    def _pieces(self) -> Iterator[_Piece]:
        return iter(self._kept) if self._kept is not None else (self._piece(part) for part in self._parts)

    def _piece(self, part: slice) -> _Piece:
        k = self.k[part]
        target = self._phases(self.targets, k)
        return _Piece(k, self.weight[part], target, target if self.targets is self.sources else self._phases(self.sources, k))

    def _phases(self, centres: Centres, k: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = circle(centres.positions @ k.T)
        if self._alike:
            return cos, sin
        smooth = torch.exp(-0.5 * centres.width[:, None] ** 2 * k.square().sum(1))
        return smooth * cos, smooth * sin


def slices(n: int, length: int) -> list[slice]:
    """0 .. n in pieces of at most this length."""
    return [slice(start, min(start + length, n)) for start in range(0, n, length)]


def _transform(p: Tensor, k: Tensor, phases: tuple[Tensor, Tensor]) -> Tensor:
    """Real and imaginary part of P(k), (2, K)."""
    cos, sin = (p.T @ one for one in phases)
    if p.shape[1] == 1:
        return torch.cat([cos, -sin])
    a = fourier(p.shape[1], k)
    even, odd = a[4:], a[1:4]
    real = cos[0] + (odd * sin[1:4]).sum(0) - (even * cos[4:]).sum(0)
    imaginary = (odd * cos[1:4]).sum(0) - sin[0] + (even * sin[4:]).sum(0)
    return torch.stack([real, imaginary])
