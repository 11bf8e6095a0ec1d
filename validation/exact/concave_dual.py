"""The potential that holds populations of a one-electron Hamiltonian: the maximum of a concave function.

    L(v) = sum_i n_i e_i(F - sum_k v_k W_k) + sum_k v_k N_k,    dL/dv_k = N_k - Tr(D W_k),

    d2L/dv_k dv_l = -2 sum_ai n_i <a|W_k|i> <i|W_l|a> / (e_a - e_i),

found by Newton's method with a search along each step.

Source: Q. Wu, T. Van Voorhis, J. Phys. Chem. A 110, 9212 (2006), eqs. 8-10, for the concavity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from cgdft.validation.dft.mean_field import NotConverged

STEPS, HALVINGS = 40, 25
LARGEST_STEP = 1.0  # hartree/e
ROUNDING = 1e-12  # of L, below which only its slope says whether a step is good


@dataclass(frozen=True, eq=False)
class Held:
    """Orbitals that have the populations: v (k,), energies (s, m) in hartree, orbitals (s, m, m) as columns."""

    potentials: NDArray[np.float64]
    energies: NDArray[np.float64]
    orbitals: NDArray[np.float64]


def hold(
    hamiltonian: NDArray[np.float64],
    operators: NDArray[np.float64],
    populations: NDArray[np.float64],
    electrons: tuple[int, ...],
    start: NDArray[np.float64],
    tolerance: float,
) -> Held:
    """The lowest orbitals of F - v.W with Tr(D W_k) = N_k.

    Args:
        hamiltonian: F (s, m, m) of each spin, or of both (s = 1), in an orthonormal basis.
        operators: W (k, m, m).
        populations: N (k,).
        electrons: of each spin (two entries), or of both (one).
        start: v (k,).
        tolerance: in electrons.

    Raises:
        NotConverged: the lowest orbitals cannot have the populations, as where levels cross.
    """
    whole = 2.0 if len(electrons) == 1 else 1.0
    occupied = [round(n / whole) for n in electrons]

    def at(v: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], Held]:
        pairs = [eigh(one - np.einsum("k,kij->ij", v, operators)) for one in hamiltonian]
        held = Held(v, np.stack([e for e, _ in pairs]), np.stack([c for _, c in pairs]))
        value, gradient = float(v @ populations), populations.copy()
        for e, c, n in zip(held.energies, held.orbitals, occupied, strict=True):
            value += whole * float(e[:n].sum())
            gradient -= whole * np.einsum("ia,kij,ja->k", c[:, :n], operators, c[:, :n], optimize=True)
        return value, gradient, held

    value, gradient, held = at(start)
    for _ in range(STEPS):
        if np.abs(gradient).max() < tolerance:
            return held
        stiffness = np.zeros((len(start), len(start)))
        for e, c, n in zip(held.energies, held.orbitals, occupied, strict=True):
            crossed = np.einsum("ia,kij,jo->kao", c[:, n:], operators, c[:, :n], optimize=True)
            gaps = np.maximum(e[n:, None] - e[:n], 1e-4)
            stiffness += 2 * whole * np.einsum("kao,lao->kl", crossed / gaps, crossed)
        step = np.linalg.lstsq(stiffness, gradient, rcond=1e-12)[0]
        step *= min(1.0, LARGEST_STEP / max(float(np.abs(step).max()), 1e-300))
        for _ in range(HALVINGS):
            found = at(held.potentials + step)
            rises = found[0] >= value + 1e-4 * float(step @ gradient)
            level = found[0] > value - ROUNDING * abs(value)
            if rises or (level and np.abs(found[1]).max() < 0.9 * np.abs(gradient).max()):
                break
            step = step / 2
        else:
            break
        value, gradient, held = found
    raise NotConverged(
        f"no potential gives the lowest orbitals these populations: {np.abs(gradient).max():.1e} e are missing at "
        f"v = {held.potentials.round(3).tolist()} hartree/e"
    )


def lowest(hamiltonian: NDArray[np.float64], density: NDArray[np.float64], electrons: tuple[int, ...]) -> Held:
    """The orbitals of F (s, m, m); raises NotConverged where its lowest ones are not those of `density`, an excited state."""
    whole = 2.0 if len(electrons) == 1 else 1.0
    pairs = [eigh(one) for one in hamiltonian]
    for (_, c), n, held in zip(pairs, electrons, density, strict=True):
        filled = float(np.einsum("ia,ij,ja->", c[:, : round(n / whole)], held, c[:, : round(n / whole)]))
        if filled < n - 1e-3:
            raise NotConverged(
                f"the constrained density is not that of the lowest orbitals, which hold {filled:.3f} of {n} electrons"
            )
    return Held(np.zeros(0), np.stack([e for e, _ in pairs]), np.stack([c for _, c in pairs]))
