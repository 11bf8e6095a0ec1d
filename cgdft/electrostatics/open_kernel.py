"""Coulomb's kernel on the mesh of an open structure: 1/r between smooth charges, folded where no pair sees it.

A mesh convolves around its ends. Of distances x along an axis of the box, of length L, the kernel must be right up to the
longest of two sites, short of L / 2 by the box's margin. It is that of charges of the width w, with

    f(x) = L/2 - <|y|>,   y = L/2 - x,   <|y|> = y erf(y / sqrt(2) s) + s sqrt(2/pi) exp(-y^2 / 2 s^2),

in place of x along each axis: periodic, and as smooth as the charges, so that the mesh follows it as well, for s = 1.1 w. It
differs from 1/r by some exp(-D^2 / 2 s^2) of 1/L within a margin D.

Source: R. W. Hockney, J. W. Eastwood, Computer Simulation Using Particles (1988), sec. 6-5, for the doubled mesh.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.special import erf

from cgdft.electrostatics.boundary import Box

#: Widest spacing of mesh points, in widths of the charges between which the kernel is taken; on a coarser mesh between wider
#: ones, whose excess is taken out of its waves.
COARSEST = 1.3
#: s / w, and D / w over what makes exp(-D^2 / 2 w^2) the accuracy: with these the mesh itself is what is wrong, for l <= 2.
FOLD, MARGIN = 1.1, 1.25


def margin(width: float, widest: float, accuracy: float) -> float:
    """D of the box of a structure with charges of widths from one to another, bohr: wider ones see the kernel blurred."""
    return MARGIN * math.sqrt(2 * widest**2 - width**2) * math.sqrt(2 * math.log(1 / accuracy))


def influence(box: Box, shape: tuple[int, ...], width: float, threads: int) -> NDArray[np.float64]:
    """sum_n erf(r_n / 2 width) / r_n exp(-i k r_n) over mesh points, of the half of the waves that a real transform keeps."""
    spacings = [height / points for height, points in zip(box.heights, shape, strict=True)]
    wide = max(width, max(spacings) / COARSEST)
    x, y, z = (_folded(points, h, FOLD * wide) ** 2 for points, h in zip(shape, spacings, strict=True))
    r = np.sqrt(x[:, None, None] + y[:, None] + z)
    r[0, 0, 0] = 1.0
    kernel: NDArray[Any] = erf(r / (2 * wide)) / r
    kernel[0, 0, 0] = 1 / (math.sqrt(math.pi) * wide)
    for axis, points in enumerate(shape):
        there = np.arange(points)
        kernel = kernel.take(np.minimum(there, points - there), axis)
    waves = fft.rfftn(kernel, workers=threads).real
    if wide > width:
        k = [2 * math.pi * fft.fftfreq(points, h) for points, h in zip(shape, spacings, strict=True)]
        k2 = k[0][:, None, None] ** 2 + k[1][:, None] ** 2 + k[2][: waves.shape[2]] ** 2
        waves = waves * np.exp((wide**2 - width**2) * k2)
    return np.asarray(waves)


def _folded(points: int, spacing: float, s: float) -> NDArray[np.float64]:
    """f of the distances 0 .. L / 2 along an axis."""
    half = points * spacing / 2
    y = half - np.arange(points // 2 + 1) * spacing
    folded = half - y * erf(y / (math.sqrt(2) * s)) - s * math.sqrt(2 / math.pi) * np.exp(-(y**2) / (2 * s**2))
    folded[0] = 0.0
    return np.asarray(folded)
