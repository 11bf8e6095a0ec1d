"""The best local hardness for a given response, and what it leaves over: where charge equilibration is right, and where not.

    K = eta_Z(i) delta_ij + J_ij,   J_ij = (g_i | g_j),   chi = -(K^-1 - K^-1 1 1^T K^-1 / 1^T K^-1 1),

with one eta an element, fitted to the charges' chi or to its inverse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, lsq_linear

from cgdft.validation.definitions import CoulombFit, Definition
from cgdft.validation.definitions.coulomb_fit import gaussian_metric
from cgdft.validation.exact.susceptibility import Susceptibility

SMALLEST = 1e-4  # hartree/e^2


@dataclass(frozen=True, eq=False)
class LocalHardness:
    """A fit of one hardness an element.

    Args:
        eta: by element, hartree/e^2, beside the self-energy of the Gaussians, which is in J.
        susceptibility: of the model.
        remainder: K - J - eta (n, n) on the space of fixed total charge, hartree/e^2: the hardness kernel that is not local.
        error: |chi_model - chi| / |chi|, of the charges (Frobenius).
    """

    eta: Mapping[str, float]
    susceptibility: Susceptibility
    remainder: NDArray[np.float64]
    error: float


def fit_local_hardness(
    exact: Susceptibility, definition: Definition | None = None, *, to_kernel: bool = False
) -> LocalHardness:
    """Least squares for eta_Z against chi (element by element), or against K = -chi^-1.

    Args:
        exact: chi.
        definition: names the Gaussians of J; default covalent radii.
        to_kernel: whether K is fitted.
    """
    widths = (definition or CoulombFit()).widths(exact.symbols)
    repulsion = gaussian_metric(exact.positions, widths)
    elements = sorted(set(exact.symbols))
    member = np.array([[symbol == element for element in elements] for symbol in exact.symbols], dtype=float)
    n = len(exact.symbols)
    neutral = np.eye(n) - 1.0 / n

    def projected(diagonal: NDArray[np.float64]) -> NDArray[np.float64]:
        return neutral @ np.diag(diagonal) @ neutral

    bare = exact.hardness_kernel - neutral @ repulsion @ neutral
    columns = np.stack([projected(one).ravel() for one in member.T], axis=1)
    eta = lsq_linear(columns, bare.ravel(), bounds=(SMALLEST, np.inf)).x
    if not to_kernel:
        found = least_squares(
            lambda logs: (response(member @ np.exp(logs), repulsion) - exact.charges).ravel(), np.log(np.maximum(eta, 0.05))
        )
        eta = np.exp(found.x)
    model = Susceptibility(exact.symbols, exact.positions, response(member @ eta, repulsion))
    by_element = dict(zip(elements, eta.tolist(), strict=True))
    return LocalHardness(by_element, model, bare - projected(member @ eta), exact.error(model))


def response(eta: NDArray[np.float64], repulsion: NDArray[np.float64]) -> NDArray[np.float64]:
    """chi (n, n) of charge equilibration at fixed total charge, e^2/hartree."""
    inverse = np.linalg.inv(np.diag(eta) + repulsion)
    total = inverse.sum(axis=1)
    return np.asarray(np.outer(total, total) / total.sum() - inverse)
