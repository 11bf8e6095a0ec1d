"""The exact coarse functional F[q] = min over densities n with coarse charges q of E_DFT[n], by constrained DFT.

With charges of a linear definition, p_a = p_a^0 - Tr(D W_a), and constrained sums c_k = sum_a A_ka p_a,

    F(c) = min over D max over v of E[D] + sum_k v_k (c_k[D] - c_k):   [F_KS - sum_k v_k W_k, D] = 0,   dF/dc_k = -v_k,

W_k = sum_a A_ka W_a. In every cycle the Kohn-Sham matrix is given and v is the maximum of a concave function (damped Newton
with the uncoupled response as its Hessian); the cycles are accelerated by DIIS on the constrained matrix.

Source: Q. Wu, T. Van Voorhis, Phys. Rev. A 72, 024502 (2005); J. Chem. Theory Comput. 2, 765 (2006).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray

from cgdft.validation.definitions import CoulombFit, LinearDefinition
from cgdft.validation.dft import mean_field
from cgdft.validation.dft.electrons import ElectronDensity
from cgdft.validation.dft.linear_response import second_derivatives
from cgdft.validation.dft.mean_field import NotConverged
from cgdft.validation.dft.request import Request
from cgdft.validation.exact.concave_dual import hold, lowest

CYCLES, INNER = 80, 60
ENERGY_TOL, GRADIENT_TOL, CHARGE_TOL = 1e-8, 1e-6, 1e-8  # hartree; hartree, of the commutator; e
LARGEST_POTENTIAL = 20.0  # hartree/e
LEVEL_SHIFTS = (0.0, 0.3, 1.0)  # hartree, one after the other where levels cross
PATIENCE = 60.0  # seconds a point


@dataclass(frozen=True, eq=False)
class Constrained:
    """One value of F[q], or why there is none.

    Args:
        target: c (k,), e.
        energy: F, hartree; NaN where it did not converge.
        slope: dF/dc (k,), hartree/e, by the theorem of Hellmann and Feynman.
        charges: q (n_atoms,) by the definition, e.
        reason: of failure, else empty.
        cycles, seconds: what it took.
        mean_field: PySCF's, at the constrained minimum, for whatever else is to be known of the density.
    """

    target: NDArray[np.float64]
    energy: float
    slope: NDArray[np.float64]
    charges: NDArray[np.float64]
    reason: str = ""
    cycles: int = 0
    seconds: float = 0.0
    mean_field: Any = field(default=None, repr=False)


class ExactFunctional:
    """F(c): call it on constrained charges, or walk along a path of them.

    Args:
        atoms: a molecule (angstrom).
        method: "xc/basis".
        definition: of the charges, linear in the density; its widths are those of the functional tested with it.
        constrained: A (k, n_atoms), rows of which are sums of charges to be fixed; default the charge of each atom but the
            last.
        charge, spin: as for `reference`.

    Raises:
        NotConverged: the molecule itself has no self-consistent answer.
        ValueError: bad input.
    """

    def __init__(
        self,
        atoms: Atoms,
        method: str = "pbe/def2-svp",
        definition: LinearDefinition | None = None,
        constrained: ArrayLike | None = None,
        *,
        charge: int | None = None,
        spin: int | None = None,
    ) -> None:
        self.definition = CoulombFit() if definition is None else definition
        if not isinstance(self.definition, LinearDefinition):
            raise ValueError(f"`definition` must be linear in the density, such as CoulombFit(), got {definition!r}")
        self.request = Request.from_atoms(atoms, method, charge=charge, spin=spin, definitions=(self.definition,))
        n = len(self.request.numbers)
        self.rows = np.eye(n)[: n - 1] if constrained is None else np.atleast_2d(np.asarray(constrained, dtype=float))
        if self.rows.ndim != 2 or self.rows.shape[1] != n or not len(self.rows) or not np.isfinite(self.rows).all():
            raise ValueError(f"`constrained` must be rows of {n} numbers, one an atom, got {constrained!r}")
        if np.linalg.matrix_rank(np.vstack([self.rows, np.ones(n)])) <= len(self.rows):
            raise ValueError(
                f"`constrained` must be independent of each other and of the total charge, got {self.rows.tolist()}"
            )
        symbols = self.symbols = tuple(chemical_symbols[number] for number in self.request.numbers)
        mol = mean_field.build(symbols, self.request.positions, self.request.method, self.request.charge, self.request.spin)
        xc = self.request.method.split("/", 1)[0]
        mf = mean_field.solve(mol, xc, density_fit=True, field=np.zeros(3))
        electrons = ElectronDensity.of(mf, self.request.method)
        self._operators = self.definition.operators(electrons)[:, 0]
        self._constrained_operators = np.einsum("ka,aij->kij", self.rows, self._operators)
        charges = self.definition(electrons)[:, 0]
        self._promolecule = charges + np.einsum("aij,ji->a", self._operators, electrons.matrix)
        self._mean_field = mf
        self.free = Constrained(self.rows @ charges, float(mf.e_tot), np.zeros(len(self.rows)), charges, mean_field=mf)

    def __call__(self, target: ArrayLike, start: Constrained | None = None) -> Constrained:
        """F at c = `target` (k,), e, warm from `start`; raises NotConverged within a minute."""
        result = self._solved(self._wanted(target), start or self.free)
        if result.reason:
            raise NotConverged(result.reason)
        return result

    def along(self, targets: Sequence[ArrayLike]) -> tuple[Constrained, ...]:
        """F on a path, walked outwards from the free minimum with warm starts; a failed point says why and the rest goes on."""
        wanted = [self._wanted(target) for target in targets]
        found: list[Constrained] = [self.free]
        order = np.argsort([float(np.linalg.norm(one - self.free.target)) for one in wanted])
        by_index: dict[int, Constrained] = {}
        for k in order:
            nearest = min(found, key=lambda one: float(np.linalg.norm(one.target - wanted[k])))
            by_index[int(k)] = self._solved(wanted[k], nearest)
            if not by_index[int(k)].reason:
                found.append(by_index[int(k)])
        return tuple(by_index[k] for k in range(len(wanted)))

    def curvature(self, point: Constrained) -> NDArray[np.float64]:
        """d2F/dc dc' (k, k), hartree/e^2: -(dc/dv)^-1 of coupled-perturbed Kohn-Sham at the constrained minimum."""
        if point.mean_field is None:
            raise ValueError(f"`point` must be converged, got one that is not: {point.reason}")
        chi = second_derivatives(point.mean_field, self._constrained_operators)
        return np.asarray(-np.linalg.inv((chi + chi.T) / 2))

    def _wanted(self, target: ArrayLike) -> NDArray[np.float64]:
        wanted = np.atleast_1d(np.asarray(target, dtype=float))
        if wanted.shape != (len(self.rows),) or not np.isfinite(wanted).all():
            raise ValueError(f"`target` must be {len(self.rows)} finite charges in e, got {target!r}")
        return wanted

    def _solved(self, target: NDArray[np.float64], start: Constrained) -> Constrained:
        begun, reasons, total = time.perf_counter(), [], 0
        for shift in LEVEL_SHIFTS:
            cycle = 0
            try:
                for cycle, found in enumerate(self._cycles(target, start, shift), start=1):
                    seconds = time.perf_counter() - begun
                    if found is not None:
                        return dataclasses.replace(found, cycles=total + cycle, seconds=seconds)
                    if seconds > PATIENCE:
                        raise NotConverged(f"it took more than {PATIENCE:.0f} s")
                raise NotConverged(f"it took more than {CYCLES} cycles")
            except NotConverged as error:
                reasons.append(f"with a level shift of {shift} hartree: {error}")
                total += cycle
        slope, charges = np.full(len(self.rows), np.nan), np.full(self.rows.shape[1], np.nan)
        reason = f"F at {target.tolist()} e did not converge; {'; '.join(reasons)}"
        return Constrained(target, float("nan"), slope, charges, reason, total, time.perf_counter() - begun)

    def _cycles(self, target: NDArray[np.float64], start: Constrained, shift: float) -> Iterator[Constrained | None]:
        """Self-consistent cycles: None after each, at last the result. (s, m, m) matrices of spins s in an orthonormal basis.

        `shift` (hartree) raises the empty orbitals while it iterates, and is gone from the result.
        """
        from pyscf.lib import diis

        mf = self._mean_field.copy()
        mol, overlap, core = mf.mol, mf.get_ovlp(), mf.get_hcore()
        values, vectors = np.linalg.eigh(overlap)
        ortho, back = vectors / np.sqrt(values), vectors * np.sqrt(values)
        operators = np.einsum("im,kij,jn->kmn", ortho, self._constrained_operators, ortho, optimize=True)
        populations = self.rows @ self._promolecule - target
        electrons = (mol.nelectron,) if np.asarray(mf.mo_occ).ndim == 1 else mol.nelec
        whole = 2.0 if len(electrons) == 1 else 1.0
        density = back.T @ np.asarray(start.mean_field.make_rdm1()).reshape(-1, mol.nao, mol.nao) @ back
        mixing, before, held = diis.DIIS(), np.inf, None
        mixing.space = 8
        for cycle in range(CYCLES):
            tolerance = GRADIENT_TOL if cycle < mean_field.PATIENCE else mean_field.STALLED_TOL_GRAD  # holes rotate freely
            outside = ortho @ density @ ortho.T
            matrix = outside[0] if len(outside) == 1 else outside
            felt = mf.get_veff(mol, matrix)
            energy = float(mf.energy_tot(matrix, core, felt))
            bare = ortho.T @ np.asarray(core + felt).reshape(-1, mol.nao, mol.nao) @ ortho
            turned = bare @ density - density @ bare
            pulled = operators[:, None] @ density - density @ operators[:, None]
            v = np.linalg.lstsq(pulled.reshape(len(operators), -1).T, turned.ravel(), rcond=1e-10)[0]
            error = turned - np.einsum("k,ksmn->smn", v, pulled)
            if np.abs(v).max() > LARGEST_POTENTIAL:
                raise NotConverged(f"the potential grows to {v.round(1).tolist()} hartree/e: the charges cannot be reached")
            if held is not None and abs(energy - before) < ENERGY_TOL and np.abs(error).max() < tolerance:
                held = lowest(bare - np.einsum("k,kmn->mn", v, operators), density, electrons)
                mf.mo_coeff, mf.mo_energy = _like(mf.mo_coeff, ortho @ held.orbitals), _like(mf.mo_energy, held.energies)
                occupations = np.zeros_like(held.energies)
                for row, n in zip(occupations, electrons, strict=True):
                    row[: round(n / whole)] = whole
                mf.mo_occ, mf.e_tot, mf.converged = _like(mf.mo_occ, occupations), energy, True
                charges = self._promolecule - np.einsum("aij,sji->a", self._operators, outside)
                yield Constrained(target, energy, -v, charges, mean_field=mf)
                return
            before = energy
            constrained = mixing.update(bare - np.einsum("k,kmn->mn", v, operators), error)
            constrained = constrained + shift * (np.eye(mol.nao) - density / whole)
            held = hold(constrained, operators, populations, electrons, np.zeros(len(v)), CHARGE_TOL)
            density = np.stack(
                [
                    whole * c[:, : round(n / whole)] @ c[:, : round(n / whole)].T
                    for c, n in zip(held.orbitals, electrons, strict=True)
                ]
            )
            yield None


def _like(pattern: Any, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without the axis of spins where the pattern has none."""
    return values[0] if values.ndim > np.asarray(pattern).ndim else values
