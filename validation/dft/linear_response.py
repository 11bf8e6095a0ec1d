"""Second derivatives of the Kohn-Sham energy by perturbations of its one-electron part: coupled-perturbed Kohn-Sham.

    E(v) = min over D of E[D] + sum_a v_a Tr(D h_a),   d2E/dv_a dv_b = Tr(h_a dD/dv_b),

    dD = sum_ai n x_ai (C_a C_i^T + C_i C_a^T),   (e_a - e_i) x_ai + <a| dv_Hxc[dD] |i> = -<a| h |i>,

with n electrons in an occupied orbital. E is concave in v: the matrix is negative semidefinite. With h = W of a linear
definition it is chi_ab = dp_a/dv_b, with h = r it is minus the polarizability.

Source: J. Gerratt, I. M. Mills, J. Chem. Phys. 49, 1719 (1968), for coupled-perturbed equations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdft.validation.dft.mean_field import NotConverged

TOLERANCE = 1e-8  # of the Krylov vectors
RESIDUAL, LARGEST_RESIDUAL = 1e-5, 1e-3  # of what is solved for, relative: aimed at, accepted (degenerate holes rotate freely)
SAME = 1e-9  # singular values of the perturbations, relative, below which one is a sum of others
CYCLES, ROUNDS = 60, 3
KERNEL_GRID = 1  # PySCF's level of the grid of the exchange-correlation kernel: polarizabilities to 4e-5 of themselves


def second_derivatives(mf: Any, perturbations: NDArray[np.float64]) -> NDArray[np.float64]:
    """d2E/dv_a dv_b (k, k) of a converged restricted or unrestricted mean field, not symmetrised.

    Args:
        mf: the mean field.
        perturbations: h (k, n_ao, n_ao), symmetric, the same for both spins.

    Raises:
        NotConverged: the equations have no solution within reach, as near an instability.
        ValueError: functionals without a kernel in PySCF.
    """
    from pyscf import lib

    spins = _spins(mf)
    gaps = np.concatenate([(e[~n][:, None] - e[n]).ravel() for _, e, n, _ in spins])
    right = np.concatenate([_virtual_occupied(perturbations, c, n) for c, _, n, _ in spins], axis=1)
    if gaps.size == 0:
        raise ValueError(
            f"`method` must have a basis with empty orbitals for linear response, got {mf.mol.basis}: take a larger one"
        )
    if not gaps.min() > 0:
        raise NotConverged(
            f"linear response needs a gap between occupied and empty orbitals, got {gaps.min(initial=0.0)} hartree"
        )
    kernel = with_coarse_grid(mf).gen_response(hermi=1)

    def changed(x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Density matrices of both spins (2, k, n_ao, n_ao), or of their sum (k, n_ao, n_ao)."""
        parts, start = [], 0
        for c, _, occupied, n in spins:
            o, v = c[:, occupied], c[:, ~occupied]
            size = o.shape[1] * v.shape[1]
            rotation = n * x[:, start : start + size].reshape(len(x), v.shape[1], o.shape[1])
            half = np.einsum("ia,kao,jo->kij", v, rotation, o, optimize=True)
            parts.append(half + half.swapaxes(1, 2))
            start += size
        return parts[0] if len(parts) == 1 else np.stack(parts)

    def screened(x: NDArray[np.float64]) -> NDArray[np.float64]:
        potential = np.asarray(kernel(changed(np.atleast_2d(x))))
        potential = potential[None] if len(spins) == 1 else potential
        pairs = zip(potential, spins, strict=True)
        return np.concatenate([_virtual_occupied(one, c, n) for one, (c, _, n, _) in pairs], axis=1) / gaps

    wanted = -right / gaps
    mixture, sizes, directions = np.linalg.svd(wanted, full_matrices=False)
    kept = sizes > SAME * sizes.max(initial=0.0)
    if not kept.any():
        return np.zeros((len(perturbations), len(perturbations)))
    answers, left = np.zeros_like(directions[kept]), directions[kept]
    for _ in range(ROUNDS):
        try:
            answers = answers + np.atleast_2d(lib.krylov(screened, left, tol=TOLERANCE, max_cycle=CYCLES))
        except (RuntimeError, np.linalg.LinAlgError) as error:
            raise NotConverged(f"the coupled-perturbed equations have no solution within reach: {error}") from error
        left = directions[kept] - answers - screened(answers)
        remainder = float(np.abs(left).max() / np.abs(directions[kept]).max())
        if remainder < RESIDUAL:
            break
    if not remainder < LARGEST_RESIDUAL:
        raise NotConverged(
            f"the coupled-perturbed equations are solved only to {remainder:.1e}, asked {LARGEST_RESIDUAL}; the smallest gap "
            f"is {gaps.min():.3f} hartree"
        )
    x = (mixture[:, kept] * sizes[kept]) @ answers
    total = changed(x) if len(spins) == 1 else changed(x).sum(axis=0)
    return np.asarray(np.einsum("aij,bji->ab", perturbations, total))


def with_coarse_grid(mf: Any) -> Any:
    """The same mean field with a coarser grid, where it has one."""
    if not hasattr(mf, "grids"):
        return mf
    from pyscf.dft import gen_grid

    same = mf.copy()
    same.grids = gen_grid.Grids(mf.mol)
    same.grids.level = KERNEL_GRID
    return same


def _spins(mf: Any) -> list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_], float]]:
    """Orbitals, energies, which are occupied, and electrons in each; one entry if restricted, else two."""
    coefficients, energies, occupations = (np.asarray(one) for one in (mf.mo_coeff, mf.mo_energy, mf.mo_occ))
    if occupations.ndim == 1:
        coefficients, energies, occupations = coefficients[None], energies[None], occupations[None]
    whole = 2.0 if len(occupations) == 1 else 1.0
    if not np.isin(occupations, (0.0, whole)).all():
        raise ValueError("linear response needs whole occupations, got fractional ones: solve without smearing")
    return [(c, e, n > 0, whole) for c, e, n in zip(coefficients, energies, occupations, strict=True)]


def _virtual_occupied(
    matrices: NDArray[np.float64], coefficients: NDArray[np.float64], occupied: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """<a| h |i> (k, n_virtual n_occupied)."""
    o, v = coefficients[:, occupied], coefficients[:, ~occupied]
    found = np.einsum("ia,kij,jo->kao", v, matrices, o, optimize=True)
    return np.asarray(found.reshape(len(matrices), v.shape[1] * o.shape[1]))
