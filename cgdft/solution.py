"""The minimum on a structure, and every observable as a derivative of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cgdft.density import KNOWN_WAYS, Density
from cgdft.derivatives.counted import counted
from cgdft.derivatives.solved import Derivatives
from cgdft.naming import few
from cgdft.problems.minimisation import Minimisation
from cgdft.slopes import slope
from cgdft.solver import Minimum, Solver, Status
from cgdft.structure import Structure

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure

    from cgdft.constraint import Row
    from cgdft.model import Model


class Solution:
    """What a model returns: density, energies, chemical potential, status, and the derivatives of the minimum.

    Everything is in Hartree atomic units, and differentiable by whatever requires a gradient in model and structure: twice.
    Per atom: (n_atoms, ...); per structure: (n_structures, ...), also for a single one.
    """

    def __init__(self, derivatives: Derivatives) -> None:
        self._derivatives = derivatives
        self.model, self.structure, self.problem = derivatives.model, derivatives.structure, derivatives.problem
        self.solver, self.minimum = derivatives.solver, derivatives.minimum

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles hold the numbers, without a graph; what derivatives need is prepared again."""
        self._derivatives.require_current()
        held = {one.name: getattr(self.structure, one.name) for one in fields(self.structure)}
        structure = self.structure.holding(**{name: v if v.is_leaf else v.detach() for name, v in held.items()})
        return _restored, (self.model, structure, self.solver, self.minimum, self._derivatives.grad_mode)

    @property
    def outdated(self) -> bool:
        """Whether structure or model have been changed in place since the solve, or the model holds other parameters."""
        return self._derivatives.outdated

    @property
    def status(self) -> list[Status]:
        """How the solve ended, for each structure."""
        return self.minimum.status

    @property
    def iterations(self) -> int:
        """Iterations of the solver."""
        return self.minimum.iterations

    @property
    def history(self) -> Float[Tensor, "n_iterations n_structures"]:
        """Norm of the residual at each iteration, in the solver's `residual_unit`: of the projected gradient, hartree / e."""
        return self.minimum.history

    # The density and what is read off it.

    @property
    def density(self) -> Density:
        """The coarse density at the minimum."""
        return self._derivatives.state.density

    @property
    def coefficients(self) -> Float[Tensor, "n_atoms size"]:
        """Its coefficients p, (n_atoms, size)."""
        return self.density.coefficients

    @property
    def charges(self) -> Float[Tensor, " n_atoms"]:
        """q_i, (n_atoms,), e; positive where electrons are missing."""
        return self.density.charges

    @property
    def dipoles(self) -> Float[Tensor, "n_atoms 3"]:
        """Atomic dipoles, (n_atoms, 3), e bohr."""
        return self.density.dipoles

    @property
    def quadrupoles(self) -> Float[Tensor, "n_atoms 5"]:
        """Atomic quadrupoles in solid harmonics, (n_atoms, 5), e bohr^2."""
        return self.density.quadrupoles

    @property
    def spin_moments(self) -> Float[Tensor, " n_atoms"]:
        """m_i, up less down electrons, (n_atoms,); zero where the basis has no spin."""
        return self.density.spin_moments

    @property
    def total_charge(self) -> Float[Tensor, " n_structures"]:
        """Q, (n_structures,), e."""
        return self.structure.total(self.charges)

    @property
    def dipole(self) -> Float[Tensor, "n_structures 3"]:
        """D about the origin, (n_structures, 3), e bohr; of slabs and wires the components along open directions, else zero.

        NaN of bulk beside other structures of a batch: its dipole depends on the choice of the cell.

        Raises:
            ValueError: nothing but bulk.
        """
        pbc = self.structure.pbc
        self._require(~pbc.all(1), f"`dipole` is defined for structures with an open axis, got pbc {pbc.tolist()[:3]}")
        return _where(~pbc.all(1), self._derivatives.state.dipole)

    @property
    def polarization(self) -> Float[Tensor, "n_structures 3"]:
        """P = D / V of cells, (n_structures, 3), e / bohr^2, itinerant: D follows charges through the walls of cells.

        Reference charges count where `positions` have them, images not wrapped; another image of one adds a multiple of its
        charge times a lattice vector. Differences, as along a trajectory or of fields, are what is measured. NaN of structures
        without a periodic axis or without a volume, beside others of a batch.

        Raises:
            ValueError: no structure with a volume; charges that move freely, or reference charges that change with the
                positions.
        """
        volume = self._volume("polarization")
        self.problem.require_known_ways("`polarization`")
        state = self._derivatives.state
        with self._derivatives.graph:
            return _where(self.structure.has_stress, self.problem.dipole(state.x) / volume[:, None])

    @property
    def quadrupole(self) -> Float[Tensor, "n_structures 3 3"]:
        """Traceless quadrupole about the origin (Buckingham), (n_structures, 3, 3), e bohr^2; NaN of periodic ones of a batch.

        Raises:
            ValueError: periodic structures alone.
        """
        pbc = self.structure.pbc
        self._require(~pbc.any(1), f"`quadrupole` needs structures without periodic axes, got pbc {pbc.tolist()[:3]}")
        return _where(~pbc.any(1), self.density.quadrupole)

    @property
    def energies(self) -> dict[str, Float[Tensor, " n_structures"]]:
        """The energy term by term, (n_structures,) each, hartree."""
        state = self._derivatives.state
        with self._derivatives.graph, self._derivatives.parameters.as_solved():
            return state.problem.energies(state.x, state.multipliers)

    @property
    def energy(self) -> Float[Tensor, " n_structures"]:
        """E, (n_structures,), hartree: the sum of all terms, or of the readout's, without the work of batteries."""
        return self._derivatives.state.value + self._derivatives.state.work

    @property
    def grand_potential(self) -> Float[Tensor, " n_structures"]:
        """E - sum_k V_k q_k over the charges held at a potential, (n_structures,), hartree; E where there are none.

        At fixed potential this is what is minimised, and forces and stress are its derivatives.
        """
        return self._derivatives.state.value

    @property
    def potentials(self) -> dict[str, Float[Tensor, " n_structures"]]:
        """V = dE/dq of each constraint, (n_structures,), hartree / e: found for a fixed charge, given for a held one; dE/dS as
        "spin". Of a part of another fixed charge, such as the total one, V is the difference to the rest of it. What else
        depends on a charge, p0 or a term, is kept as it is, unlike in `chemical_potential`.

        A charge that the ansatz cannot change has no potential: NaN beside structures of a batch that have one, else left out.
        """
        active, multipliers = self.problem.rows.active, self._derivatives.state.multipliers
        found = {
            row.name: torch.where(active[:, k], multipliers[:, k], torch.nan)
            for k, row in enumerate(self.problem.fixed)
            if bool(active[:, k].any())
        }
        return {**found, **{row.name: row.potential for row in self.problem.held if row.potential is not None}}

    @property
    def chemical_potential(self) -> Float[Tensor, " n_structures"]:
        """mu = dE/dN = -dE/dQ of the electrons, (n_structures,), hartree; of Omega where fragments are held at potentials.

        All that depends on Q is differentiated: p0, terms, and an energy that is read out. NaN where it has no potential, or
        where the solve failed.

        Raises:
            ValueError: no constraint on the total charge, or one that the ansatz cannot change.
        """
        if "total" not in self.potentials:
            raise ValueError(
                f"`chemical_potential` needs a total charge that may change under a TotalCharge constraint, got "
                f"{_few([*self.problem.fixed, *self.problem.held])}; see `potentials`"
            )
        if any(row.name == "total" for row in self.problem.held):
            return self._found(-self.potentials["total"])
        response = self._derivatives.moved("charge")
        active = self.problem.rows.active[:, [row.name for row in self.problem.fixed].index("total")]
        with self._derivatives.graph:
            return self._found(torch.where(active, -response.slope(response.value, "charge"), torch.nan))

    # First derivatives.

    def forces(self) -> Float[Tensor, "n_atoms 3"]:
        """-dE/dR, at fixed potential -dOmega/dR, (n_atoms, 3), hartree / bohr."""
        response = self._derivatives.moved("displacement")
        with self._derivatives.graph:
            return response.forces(alone=True)

    def virial(self) -> Float[Tensor, "n_structures 3 3"]:
        """dE/d(strain) of atoms and cell, at fixed potential dOmega/d(strain), (n_structures, 3, 3), hartree, symmetric.

        Forces that are asked for after it are of the same pass.
        """
        response = self._derivatives.moved("strain")
        with self._derivatives.graph:
            return response.virial()

    def stress(self) -> Float[Tensor, "n_structures 3 3"]:
        """(1/V) dE/d(strain), (n_structures, 3, 3), hartree / bohr^3, symmetric; V is that of the cell, vacuum included.

        NaN of structures without a periodic axis or without a volume, beside others of a batch; see `virial`.

        Raises:
            ValueError: no structure with a volume.
        """
        volume = self._volume("stress", "; `virial` is its product with the volume")
        return _where(self.structure.has_stress, self.virial() / volume[:, None, None])

    # Response: derivatives of the density and of the chemical potential; NaN where the solve failed or there is none.

    def polarizability(self) -> Float[Tensor, "n_structures 3 3"]:
        """alpha = dD/dF at fixed charges or potentials, (n_structures, 3, 3), bohr^3, of a cell where there is one.

        Along open axes F is the applied field, along periodic ones the macroscopic one. There D is known where charges are
        fixed or move along bonds (`SplitCharges`, modes that say what they carry); else alpha is zero along those of slabs and
        wires, and NaN of bulk beside structures of a batch that have one.

        Raises:
            ValueError: no structure but bulk whose charges move freely, as in a conductor.
        """
        response = self._derivatives.by("field")
        with self._derivatives.graph:
            return self._found(response.polarizability())

    def born_charges(self) -> Float[Tensor, "n_atoms 3 3"]:
        """Z_iab = dD_a/dR_ib, (n_atoms, 3, 3), e; along periodic axes as for `polarizability`, and NaN as there.

        Raises:
            ValueError: no structure but bulk whose charges move freely, or whose reference charges change with the positions.
        """
        response = self._derivatives.by("displacement")
        with self._derivatives.graph:
            return self._found(response.born_charges(), self.structure.index)

    def dielectric_tensor(self) -> Float[Tensor, "n_structures 3 3"]:
        """epsilon = 1 + 4 pi alpha / V of bulk at fixed nuclei, (n_structures, 3, 3); NaN of what else is in a batch.

        Raises:
            ValueError: no bulk, or what `polarizability` refuses.
        """
        bulk = self.structure.pbc.all(1)
        self._require(bulk, f"`dielectric_tensor` needs bulk, got pbc {self.structure.pbc.tolist()[:3]}; see `polarizability`")
        known = bulk & self.problem.space.says_ways(len(self.structure))
        self._require(known, f"`dielectric_tensor` of bulk {KNOWN_WAYS}")
        alpha, volume = self.polarizability(), self._volume("dielectric_tensor")
        return _where(bulk, torch.eye(3).to(alpha) + 4 * torch.pi * alpha / volume[:, None, None])

    def capacitance(self) -> Float[Tensor, "n_structures n_held n_held"]:
        """C_kl = dq_k/dV_l of the charges held at potentials, (n_structures, n_held, n_held), e^2 / hartree, symmetric.

        In the order of the constraints; of a `PotentialDifference` q is half of the difference of both charges.

        Raises:
            ValueError: no charge held at a potential.
        """
        if not self.problem.held:
            raise ValueError(
                f"`capacitance` needs charges held at potentials, got {_few(self.problem.fixed)}; see "
                "`hardness` for the inverse at fixed charge"
            )
        response = self._derivatives.by("voltage")
        with self._derivatives.graph:
            return self._found(response.capacitance())

    def fukui(self) -> Float[Tensor, " n_atoms"]:
        """f_i = dN_i/dN = dq_i/dQ, (n_atoms,); sums to one in each structure.

        Source: R. G. Parr, W. Yang, J. Am. Chem. Soc. 106, 4049 (1984).
        """
        self._require_charge()
        response = self._derivatives.by("charge")
        p = response.density.coefficients
        weight = torch.zeros_like(p).requires_grad_()
        with torch.enable_grad():
            found = slope(response.slope(p, "charge", weight), weight, graph=self._derivatives.wanted)
        return self._found(counted(found[:, 0], 2, self._derivatives.variables), self.structure.index)

    def hardness(self) -> Float[Tensor, " n_structures"]:
        """eta = dmu/dN = d2E/dQ2, (n_structures,), hartree / e^2."""
        self._require_charge()
        response = self._derivatives.by("charge", order=2, energy=True)
        with torch.enable_grad():
            by_charge = response.slope(response.value, "charge")
        with self._derivatives.graph:
            return self._found(response.slope(by_charge, "charge"))

    def softness(self) -> Float[Tensor, " n_atoms"]:
        """s_i = dN_i/dmu = f_i / eta, (n_atoms,), e^2 / hartree; sums to dN/dmu."""
        return self.fukui() / self.hardness()[self.structure.index]

    def hardness_matrix(self) -> Float[Tensor, "n_structures n n"]:
        """d2E/dp_a dp_b at the minimum, (n_structures, n, n), padded with zeros; coefficients of an atom adjoin.

        It has no graph.

        Raises:
            ValueError: a response law, which has no energy of the density to be differentiated twice.
        """
        if not isinstance(self.problem, Minimisation):
            raise ValueError(
                f"`hardness_matrix` needs a functional, got the response law of {self.model.name}; see `susceptibility`"
            )
        with torch.no_grad(), self._derivatives.parameters.as_solved():
            return self.problem.hessian_of_coefficients(self.minimum.x)

    def susceptibility(self) -> Float[Tensor, "n_structures n n"]:
        """chi_ab = dp_a/dv_b at fixed charges or potentials, (n_structures, n, n), e^2 / hartree; padded with zeros.

        v is the potential conjugate to each coefficient (E gains sum_a v_a p_a), so chi is negative semidefinite.
        """
        response = self._derivatives.by("potential", many=True)
        with self._derivatives.graph:
            return self._found(response.susceptibility())

    def _found(self, values: Tensor, index: Tensor | None = None) -> Tensor:
        """NaN where the solve failed; `index`: of which structure each value is, default: one of each."""
        failed = self._derivatives.failed
        if failed is None:
            return values
        failed = failed if index is None else failed[index]
        return torch.where(failed.reshape(-1, *[1] * (values.ndim - 1)), torch.nan, values)

    def _volume(self, what: str, instead: str = "") -> Float[Tensor, " n_structures"]:
        """Volumes of cells, of structures that `has_stress`, and one of others."""
        with_volume, volume = self.structure.has_stress, self.structure.volume
        told = f"got pbc {self.structure.pbc.tolist()[:3]} and volumes {volume.tolist()[:3]} bohr^3{instead}"
        self._require(with_volume, f"`{what}` needs periodic cells with a volume, {told}")
        return torch.where(with_volume, volume, 1.0)

    def _require(self, defined: Bool[Tensor, " n_structures"], message: str) -> None:
        """Raise a ValueError where no structure has what is asked for."""
        if not defined.any():
            raise ValueError(message)

    def _require_charge(self) -> None:
        names = [row.name for row in self.problem.fixed]
        if "total" not in names or not self.problem.rows.active[:, names.index("total")].all():
            raise ValueError(
                "this derivative needs a total charge that is fixed and that the ansatz can change, under TotalCharge(), got "
                f"fixed {_few(self.problem.fixed)} and at potentials {_few(self.problem.held)}; solve at the charge found"
            )

    # Ways out.

    def to_atoms(self) -> Atoms:
        """ASE Atoms of a single structure with its results, in eV, angstrom, e; see `cgdft.ase.annotated`."""
        from cgdft.ase import annotated

        return annotated(self.structure.to_ase(), self)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON, of a single structure; atomic units, named under "units"."""
        from cgdft.printing import as_dict

        return as_dict(self)

    def plot(self, path: str | Path | None = None) -> Figure:
        """The structure coloured by charge beside its potential on a plane; saved to `path` if given."""
        from cgdft.plotting import plot_solution

        return plot_solution(self, path)

    def __str__(self) -> str:
        from cgdft.printing import as_text

        return as_text(self)

    def __repr__(self) -> str:
        return f"Solution({self.model.name}, {self.structure!r}, {', '.join(sorted({s.name for s in self.status}))})"


def _where(defined: Bool[Tensor, " n_structures"], values: Tensor) -> Tensor:
    """NaN of other structures."""
    if defined.all():
        return values
    return torch.where(defined.reshape(-1, *[1] * (values.ndim - 1)), values, torch.nan)


def _few(rows: Sequence[Row]) -> str:
    return few([row.name for row in rows])


def _restored(model: Model, structure: Structure, solver: Solver, minimum: Minimum, grad_mode: bool) -> Solution:
    with torch.no_grad():
        problem = model.problem(structure)
    with torch.set_grad_enabled(grad_mode):
        return Solution(Derivatives(model, structure, problem, solver, minimum))
