"""Which densities are allowed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Union

import torch
from torch import Tensor, nn

from cgdft.constraint import mask_of
from cgdft.memo import once
from cgdft.pair_parameter import PairParameter, PairParameterLike
from cgdft.parameter import AtomParameter, ParameterLike, as_tensor
from cgdft.space import Entries, Space

if TYPE_CHECKING:
    from cgdft.basis import Multipoles
    from cgdft.constraint import Atoms, Constraint
    from cgdft.functional import Functional
    from cgdft.problems.problem import Problem
    from cgdft.structure import Structure

#: Coefficients given as charges (number, per element, per atom, module) or as a tensor (n_atoms, size) or module giving one.
CoefficientsLike = Union[ParameterLike, "Callable[[Structure], Tensor]"]


class Ansatz(nn.Module, ABC):
    """Which densities are allowed. A subclass says it for a structure by a `Space`.

    Attributes:
        continuous: what is allowed does not jump where atoms move.
    """

    continuous: bool = True

    @abstractmethod
    def prepare(self, structure: Structure, basis: Multipoles) -> Space:
        """The allowed densities on this structure."""

    def problem(
        self,
        structure: Structure,
        basis: Multipoles,
        functional: Functional,
        constraints: list[Constraint],
        readout: Functional | None,
    ) -> Problem:
        """What a solver sees of a model with this ansatz: a minimum."""
        from cgdft.problems.minimisation import Minimisation

        return Minimisation(structure, basis, functional, self, constraints, readout)


def coefficients_of(
    value: CoefficientsLike | AtomParameter | None, structure: Structure, basis: Multipoles, name: str = "p0"
) -> Tensor:
    """Coefficients (n_atoms, size) from charges or coefficients given in any of the ways of `CoefficientsLike`.

    None: the total charge of each structure shared equally by its atoms.
    """
    if value is None:
        value = (structure.charge / structure.counts)[structure.index]
    if callable(value) and not isinstance(value, AtomParameter):
        module = value
        value = as_tensor(once(module, structure, lambda: module(structure)), name)
    if isinstance(value, Tensor) and value.ndim == 2:
        if tuple(value.shape) != (structure.n_atoms, basis.size):
            raise ValueError(
                f"`{name}` must be (n_atoms, size) = ({structure.n_atoms}, {basis.size}), got shape {tuple(value.shape)}"
            )
        return value.to(structure.positions)
    parameter = value if isinstance(value, AtomParameter) else AtomParameter(value, name)
    charges = parameter(structure)
    higher = charges.new_zeros(structure.n_atoms, basis.size - 1)
    return torch.cat([charges[:, None], higher], 1)


def _registered(value: CoefficientsLike | None) -> CoefficientsLike | AtomParameter | None:
    if value is None:
        return None
    value = as_tensor(value, "p0")
    if callable(value) or (isinstance(value, Tensor) and value.ndim == 2):
        return value
    return AtomParameter(value, "p0")


class Free(Ansatz):
    """p = x: every coefficient of the basis relaxes, or those of some atoms, and the others have p0.

    Args:
        atoms: that relax, as for `FragmentCharge`; default: all.
        p0: of the others, as for `Fixed`; default: zero.

    Raises:
        ValueError: p0 though all relax.
    """

    def __init__(self, atoms: Atoms | None = None, p0: CoefficientsLike | None = None) -> None:
        super().__init__()
        if atoms is None and p0 is not None:
            raise ValueError(f"`p0` is of the atoms that do not relax, got {p0!r} without `atoms`")
        self.atoms, self.p0 = atoms, _registered(0.0 if p0 is None and atoms is not None else p0)

    def prepare(self, structure: Structure, basis: Multipoles) -> Space:
        """L = 1, or its columns of the atoms that relax."""
        size = basis.size
        if self.atoms is None:
            origin = structure.positions.new_zeros(structure.n_atoms, size)
            return Space(origin, structure.index.repeat_interleave(size))
        relaxes = mask_of(self.atoms, structure) > 0
        rows = torch.arange(structure.n_atoms * size, device=relaxes.device).reshape(-1, size)[relaxes].flatten()
        origin = torch.where(relaxes[:, None], 0.0, coefficients_of(self.p0, structure, basis))
        index = structure.index[relaxes].repeat_interleave(size)
        columns, ones = torch.arange(len(rows), device=rows.device), origin.new_ones(len(rows))
        return Space(origin, index, Entries(rows, columns, ones, len(rows)))


class Fixed(Ansatz):
    """p = p0: nothing relaxes (formal charges, latent charges, charges of a reference).

    Args:
        p0: charges (a number, per element, per atom, a module), or coefficients (n_atoms, size) or a module giving them.
    """

    def __init__(self, p0: CoefficientsLike) -> None:
        super().__init__()
        self.p0 = _registered(p0)

    def prepare(self, structure: Structure, basis: Multipoles) -> Space:
        """L empty."""
        origin = coefficients_of(self.p0, structure, basis)
        none = structure.index[:0]
        return Space(origin, none, Entries(none, none, origin.new_zeros(0), 0, origin.new_zeros(0, 3)))


class SplitCharges(Ansatz):
    """q_i = q0_i + sum_j x_ij, x_ij = -x_ji on bonds, with bond energy 1/2 sum_bonds kappa_ij x_ij^2. Dipoles and up are free.

    Args:
        bonds: (n_bonds, 2) atoms (numbered within the batch), of nearest images in a cell; default: atoms closer than `reach`
            times the sum of their covalent radii, one for each image. Bonds that are found come and go where atoms move, with a
            jump of charges and energy: for dynamics give them, or modes whose bonds fade, as `BondSoftness`.
        hardness: bond hardness kappa, hartree / e^2, >= 0: a number, a dict per pair of elements, a tensor per bond, or a
            module (structure, bonds) -> (n_bonds,); see `PairParameter`.
        p0: reference charges q0; default: the total charge shared equally by the atoms.
        reach: see `bonds`.

    Raises:
        ValueError: a bond between structures or outside them, a negative or missing hardness.

    Source: R. A. Nistor, J. G. Polihronov, M. H. Mueser, N. J. Mosey, J. Chem. Phys. 125, 094108 (2006).
    """

    def __init__(
        self,
        bonds: Tensor | Sequence[Sequence[int]] | None = None,
        hardness: PairParameterLike = 0.0,
        p0: CoefficientsLike | None = None,
        reach: float = 1.25,
    ) -> None:
        super().__init__()
        self.bonds = None if bonds is None else torch.as_tensor(bonds, dtype=torch.int64).reshape(-1, 2)
        self.continuous = bonds is not None
        self.hardness, self.reach = PairParameter(hardness, "hardness", non_negative=True), reach
        self.p0 = _registered(p0)

    def prepare(self, structure: Structure, basis: Multipoles) -> Space:
        """L = +1 on one end of a bond, -1 on the other."""
        bonds, apart = self._bonds(structure)
        size, n_bonds = basis.size, len(bonds)
        origin = coefficients_of(self.p0, structure, basis)
        number = torch.arange(n_bonds, device=bonds.device)
        higher = torch.arange(structure.n_atoms * size, device=bonds.device).reshape(-1, size)[:, 1:].flatten()
        rows = torch.cat([bonds[:, 0] * size, bonds[:, 1] * size, higher])
        columns = torch.cat([number, number, n_bonds + torch.arange(len(higher), device=bonds.device)])
        one = origin.new_ones(n_bonds)
        values = torch.cat([one, -one, origin.new_ones(len(higher))])
        index = torch.cat([structure.index[bonds[:, 0]], structure.index.repeat_interleave(size - 1)])
        stiffness = torch.cat([self.hardness(structure, bonds), origin.new_zeros(len(higher))])
        carried = torch.cat([apart, apart.new_zeros(len(higher), 3)])
        return Space(origin, index, Entries(rows, columns, values, len(index), carried), stiffness)

    def _bonds(self, structure: Structure) -> tuple[Tensor, Tensor]:
        """Atoms of each bond and R_i - R_j, NaN of one that is given where two images are nearly as near."""
        if self.bonds is not None:
            bonds = self.bonds.to(structure.index.device)
            if len(bonds) and not 0 <= int(bonds.min()) <= int(bonds.max()) < structure.n_atoms:
                raise ValueError(f"`bonds` must be atoms from 0 to {structure.n_atoms - 1}, got {bonds.tolist()}")
            if len(loops := torch.nonzero(bonds[:, 0] == bonds[:, 1]).flatten()):
                raise ValueError(f"`bonds` must join two atoms, got one of atom {int(bonds[loops[0], 0])} to itself")
            if (structure.index[bonds[:, 0]] != structure.index[bonds[:, 1]]).any():
                raise ValueError("`bonds` must join atoms of one structure, got a bond between two")
            from cgdft.electrostatics.pairs import nearest_images

            return bonds, nearest_images(structure, bonds[:, 0], bonds[:, 1])
        from ase.data import covalent_radii

        from cgdft.electrostatics.pairs import near_pairs
        from cgdft.units import angstrom

        radius = self.reach * angstrom * torch.from_numpy(covalent_radii).to(structure.positions)[structure.numbers]
        i, j, apart = near_pairs(structure, 2 * float(radius.max()), both=False)
        bond = apart.detach().norm(dim=1) < radius[i] + radius[j]
        return torch.stack([i, j], 1)[bond], apart[bond]


class ResponseModes(Ansatz):
    """p = p0 + L x with energy 1/2 |x|^2: the susceptibility without Coulomb interaction is S = L L^T.

    An insulating site has S -> 0, not a hardness -> infinity. The columns of L that sum to zero charge conserve it.

    Args:
        factor: L, (n_atoms * size, n_modes), coefficients of an atom adjoin, as a matrix or as `Entries`; or a module
            structure -> L. In a batch each mode belongs to the structure where it is not zero.
        p0: the density without potential; default: the total charge shared equally by the atoms.

    Raises:
        ValueError: `factor` of another shape, or a mode across two structures.

    Source: S = L L^T as the Kohn-Sham part of the response in T. Verstraelen, P. W. Ayers, V. Van Speybroeck, M. Waroquier,
    J. Chem. Phys. 138, 074108 (2013).
    """

    def __init__(
        self, factor: Tensor | Entries | Callable[[Structure], Tensor | Entries], p0: CoefficientsLike | None = None
    ) -> None:
        super().__init__()
        self.factor, self.p0 = _matrix(factor), _registered(p0)

    def prepare(self, structure: Structure, basis: Multipoles) -> Space:
        """L from the factor."""
        given = self.factor
        factor = given if isinstance(given, Tensor | Entries) else _matrix(once(given, structure, lambda: given(structure)))
        if not isinstance(factor, Tensor | Entries):
            raise TypeError(f"`factor` must be, or give, a matrix or Entries, got {type(factor).__name__}")
        n = structure.n_atoms * basis.size
        if isinstance(factor, Tensor):
            if factor.ndim != 2 or len(factor) != n:
                raise ValueError(f"`factor` must be (n_atoms * size, n_modes) = ({n}, ...), got shape {tuple(factor.shape)}")
            held = factor.detach() != 0
            if factor.requires_grad:  # what is zero here may have a derivative
                of = torch.nn.functional.one_hot(structure.index.repeat_interleave(basis.size)).to(factor)
                held = of @ (of.T @ held.to(factor)) > 0
            rows, columns = torch.nonzero(held, as_tuple=True)
            factor = Entries(rows, columns, factor[rows, columns], factor.shape[1])
        at, width = structure.positions, factor.width
        rows, columns, values = factor.rows.to(at.device), factor.columns.to(at.device), factor.values.to(at)
        carried = None if factor.carried is None else factor.carried.to(at)
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < n:
            raise ValueError(f"`factor` must have rows from 0 to n_atoms * size - 1 = {n - 1}, got some outside")
        origin = coefficients_of(self.p0, structure, basis)
        owner = structure.index.repeat_interleave(basis.size)
        index = torch.zeros(width, dtype=torch.int64, device=values.device)
        index[columns] = owner[rows]
        if (index[columns] != owner[rows]).any():
            raise ValueError("`factor` must have modes that each belong to one structure, got one across two")
        if carried is None:  # known of modes that move no charge
            moving = columns[(rows % basis.size == 0) & (values.detach() != 0)]
            carried = origin.new_zeros(width, 3).index_fill(0, moving, torch.nan)
        return Space(origin, index, Entries(rows, columns, values, width, carried), origin.new_ones(width))


def _matrix(given: Any) -> Any:
    return given if isinstance(given, Entries) else as_tensor(given, "factor")
