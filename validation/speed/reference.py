"""Converged answers to compare with, by a method that cgdft does not use: a nonuniform FFT with a generic window.

The potential of Gaussian charges of one width s in a rectangular periodic box is

    v_i = (4 pi / V) sum_(0 < |k_a| < K) exp(-s^2 k^2) / k^2 exp(i k r_i) sum_j q_j exp(-i k r_j)

and both sums go over a mesh finer than K by a window exp(beta (sqrt(1 - u^2) - 1)), divided out again among the waves.
Point charges add pairs: erfc(r / 2 s) / r within a cutoff. Units: angstrom, eV, e.

Source: A. H. Barnett, J. Magland, L. af Klinteberg, SIAM J. Sci. Comput. 41, C479 (2019).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import scipy.fft
import scipy.special

from cgdft import units
from cgdft.validation.speed import fixed, qeq
from cgdft.validation.speed.systems import Array, System

COULOMB = 1 / (units.eV * units.angstrom)  # e^2 / (4 pi eps0), eV angstrom
TRUNCATION = 1e-11  # exp(-s^2 k^2) where waves end
FINER = 1.35  # mesh points per those that the shortest wave needs
POINTS = 12  # of the window along an axis
SHAPE = 0.976 * math.pi * POINTS * (1 - 1 / (2 * FINER))  # beta
LARGEST = 40_000  # atoms: more take too long


@dataclass(frozen=True, eq=False)
class Answer:
    """Charges (n_atoms,), e, and forces (n_atoms, 3), eV / angstrom."""

    charges: Array
    forces: Array


def solve(system: System, tolerance: float = 1e-11, max_iterations: int = 300) -> Answer:
    """Charges and forces of the model in `qeq`, by conjugate gradients to a relative residual of `tolerance`.

    Raises:
        RuntimeError: not converged.
    """
    operator = SmoothCoulomb(system, qeq.SIGMA)
    chi, hardness = qeq.per_atom(qeq.CHI, system), qeq.per_atom(qeq.HARDNESS, system)
    inverse = 1 / (hardness + COULOMB / (math.sqrt(math.pi) * qeq.SIGMA))

    def precondition(r: Array) -> Array:
        z: Array = inverse * (r - (inverse @ r) / inverse.sum())
        return z

    q = np.zeros(len(system))
    r = chi.mean() - chi
    z = precondition(r)
    p, rz = z, float(r @ z)
    end = tolerance * math.sqrt(rz)
    for _ in range(max_iterations):
        product = hardness * p + operator.potential(p)
        step = rz / float(p @ product)
        q, r = q + step * p, r - step * product
        r = r - r.mean()
        z = precondition(r)
        before, rz = rz, float(r @ z)
        if math.sqrt(rz) < end:
            return Answer(q, operator.forces(q))
        p = z + rz / before * p
    raise RuntimeError(f"the reference did not converge within {max_iterations} iterations on {system.name}")


def fixed_charges(system: System, width: float = 1.0) -> Answer:
    """Forces of the point charges of `fixed`, by waves of Gaussians of this width (angstrom) and pairs for the rest."""
    from vesin import NeighborList

    q = fixed.charges(system)
    forces = SmoothCoulomb(system, width).forces(q)
    cutoff = 2 * width * float(scipy.special.erfcinv(1e-12))
    i, j, d = NeighborList(cutoff=cutoff, full_list=True).compute(system.positions, np.diag(system.box), True, "ijD")
    r = np.linalg.norm(d, axis=1)
    slope = scipy.special.erfc(r / (2 * width)) / r**2 + np.exp(-((r / (2 * width)) ** 2)) / (math.sqrt(math.pi) * width * r)
    pull = (-COULOMB * q[i] * q[j] * slope / r)[:, None] * d
    pairs = np.stack([np.bincount(i, pull[:, a], len(q)) for a in range(3)], 1)
    return Answer(q, forces + pairs)


class SmoothCoulomb:
    """Interaction of Gaussian charges of one width (angstrom) with each other and with themselves; eV, e.

    Raises:
        ValueError: a box that is not periodic along all axes.
    """

    def __init__(self, system: System, width: float) -> None:
        if not all(system.pbc):
            raise ValueError(f"`system` must be periodic along all axes, got {system.name} with pbc {system.pbc}")
        longest = math.sqrt(-math.log(TRUNCATION)) / width
        self.shape = tuple(
            scipy.fft.next_fast_len(max(2 * POINTS, math.ceil(edge * longest * FINER / math.pi)), real=True)
            for edge in system.box
        )
        mesh = np.array(self.shape)
        self.places = system.positions / system.box % 1.0 * mesh
        whole = [np.fft.fftfreq(n, 1 / n) for n in self.shape[:2]] + [np.arange(self.shape[2] // 2 + 1.0)]
        self.k = [2 * math.pi * m / edge for m, edge in zip(whole, system.box, strict=True)]
        sides = [np.exp(-((width * k) ** 2)) * (np.abs(k) < longest) / _window(m / n) ** 2 for k, m, n in self._axes(whole)]
        k2 = self.k[0][:, None, None] ** 2 + self.k[1][:, None] ** 2 + self.k[2] ** 2
        k2[0, 0, 0] = np.inf
        self.factor = sides[0][:, None, None] * sides[1][:, None] * sides[2] / k2
        self.factor *= 4 * math.pi * COULOMB * mesh.prod() / system.box.prod()

    def potential(self, q: Array) -> Array:
        """v_i, (n_atoms,), eV / e."""
        v: Array = _gather(self.places, self._back(self._waves(q)))
        return v

    def forces(self, q: Array) -> Array:
        """-q_i grad v_i, (n_atoms, 3), eV / angstrom."""
        waves = self._waves(q)
        shaped = (self.k[0][:, None, None], self.k[1][:, None], self.k[2])
        return np.stack([-q * _gather(self.places, self._back(1j * k * waves)) for k in shaped], 1)

    def _waves(self, q: Array) -> Any:
        return scipy.fft.rfftn(_spread(self.places, q, *self.shape)) * self.factor

    def _back(self, waves: Any) -> Array:
        values: Array = scipy.fft.irfftn(waves, self.shape)
        return values

    def _axes(self, whole: list[Array]) -> list[tuple[Array, Array, int]]:
        return list(zip(self.k, whole, self.shape, strict=True))


def _window(frequency: Array) -> Array:
    """Fourier transform of the window at a frequency (per mesh spacing), by Gauss and Legendre's quadrature."""
    u, w = np.polynomial.legendre.leggauss(60)
    values = 0.5 * POINTS * w * np.exp(SHAPE * (np.sqrt(1 - u**2) - 1))
    transform: Array = np.cos(math.pi * POINTS * frequency[:, None] * u) @ values
    return transform


@numba.njit(cache=True)
def _weights(x: float, n: int, index: Any, weight: Any) -> None:
    first = math.ceil(x - 0.5 * POINTS)
    for a in range(POINTS):
        u = (first + a - x) / (0.5 * POINTS)
        weight[a] = math.exp(SHAPE * (math.sqrt(max(0.0, 1 - u * u)) - 1))
        index[a] = (first + a) % n


@numba.njit(cache=True)
def _spread(places: Array, q: Array, nx: int, ny: int, nz: int) -> Array:
    mesh = np.zeros((nx, ny, nz))
    index, weight = np.empty((3, POINTS), np.int64), np.empty((3, POINTS))
    for i in range(len(q)):
        for axis, n in enumerate((nx, ny, nz)):
            _weights(places[i, axis], n, index[axis], weight[axis])
        for a in range(POINTS):
            for b in range(POINTS):
                ab = q[i] * weight[0, a] * weight[1, b]
                row = mesh[index[0, a], index[1, b]]
                for c in range(POINTS):
                    row[index[2, c]] += ab * weight[2, c]
    return mesh


@numba.njit(cache=True)
def _gather(places: Array, mesh: Array) -> Array:
    values = np.zeros(len(places))
    index, weight = np.empty((3, POINTS), np.int64), np.empty((3, POINTS))
    for i in range(len(places)):
        for axis in range(3):
            _weights(places[i, axis], mesh.shape[axis], index[axis], weight[axis])
        for a in range(POINTS):
            for b in range(POINTS):
                ab = weight[0, a] * weight[1, b]
                row = mesh[index[0, a], index[1, b]]
                part = 0.0
                for c in range(POINTS):
                    part += weight[2, c] * row[index[2, c]]
                values[i] += ab * part
    return values
