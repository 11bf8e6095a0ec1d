"""Whether closed shells are the lowest state, or unrestricted orbitals are lower, as of a stretched bond or a diradical.

The energy of a closed shell changes to second order by x.A x where the orbitals of both spins are rotated into empty ones by
x / sqrt(2) and -x / sqrt(2), with A_ai,bj = (e_a - e_i) delta + <a| v[x_bj] |i>, v the response to a spin density. In the space
of the lowest excitations the lowest value of A is above that of all: where it is negative, the state is not the lowest one;
where it is positive, it is nearly sure to be.

Source: J. Cizek, J. Paldus, J. Chem. Phys. 47, 3976 (1967).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cgdft.validation.dft.linear_response import with_coarse_grid

#: Excitations that are looked at, those of lowest energy.
EXCITATIONS = 8


def towards_open_shells(mf: Any) -> float:
    """The lowest x.A x of |x| = 1, half the curvature towards unrestricted orbitals, hartree; infinite if nothing is empty."""
    filled = mf.mo_occ > 0
    o, v = mf.mo_coeff[:, filled], mf.mo_coeff[:, ~filled]
    gaps = mf.mo_energy[~filled][:, None] - mf.mo_energy[filled]
    if not gaps.size:
        return float("inf")
    lowest = np.argsort(gaps, axis=None)[:EXCITATIONS]
    a, i = np.unravel_index(lowest, gaps.shape)
    half = 2 * np.einsum("pk,qk->kpq", v[:, a], o[:, i])
    felt = with_coarse_grid(mf).gen_response(singlet=False, hermi=1)(half + half.transpose(0, 2, 1))
    matrix = np.diag(gaps.ravel()[lowest]) + np.einsum("pk,lpq,qk->kl", v[:, a], np.asarray(felt), o[:, i])
    return float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[0])
