"""The check that every model must pass, for those of the package and for a user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cgdft.problems.law_problem import LawProblem
from cgdft.response_law import ResponseLaw
from cgdft.structure import Structure, require_structure
from cgdft.testing.structures import TURN, beside, doubled, inversion

if TYPE_CHECKING:
    from cgdft.model import Model

#: Bohr to the lone atom by which size-consistency is measured: far, but not so far that rounding matters.
FAR = 400.0
STEP, FIELD = 1e-3, 1e-4  # bohr, and hartree / (e bohr), of four-point differences


def check_model(model: Model, structure: Structure, tolerance: float = 1e-6, seed: int = 0) -> dict[str, float]:
    """Check what the package promises of a model: charge, invariance, supercells, batches, forces, virial, response to a field.

    Args:
        model: of which nothing but the structure decides (no field, no parameters per atom).
        structure: one structure without symmetry to hide mistakes.
        tolerance: largest allowed error, relative to the size of what is compared.

    Returns:
        The relative error of each check; and, of a structure without periodic axes, properties of the model that are no
        errors of ours: the "asymmetry of the polarizability" (bohr^3), zero where the energy is minimised; "size
        consistency", what the energy (hartree) changes by a neutral atom of the first element 400 bohr away, beyond that
        atom's own; and the "charge on a far atom" (e) that it then has; both left out of models with no neutral atom.

    Raises:
        AssertionError: naming the check, what was expected and what was got.
        TypeError, ValueError: no structure, or a batch.
    """
    require_structure(structure)
    if len(structure) != 1:
        raise ValueError(f"`structure` must be a single one, got a batch of {len(structure)}")
    generator = torch.Generator().manual_seed(seed)
    solution = model(structure)
    errors: dict[str, float] = {}

    def compare(what: str, got: Tensor, expected: Tensor, allowed: float = tolerance) -> None:
        scale = 1e-3 + float(expected.detach().abs().max())
        errors[what] = float((got - expected).detach().abs().max()) / scale
        if not errors[what] <= allowed:
            raise AssertionError(
                f"{model.name}: {what}: expected {expected.detach().flatten()[:4].tolist()}, got "
                f"{got.detach().flatten()[:4].tolist()} (relative error {errors[what]:.2e})"
            )

    if any(row.name == "total" and row.charge is not None for row in solution.problem.fixed):
        compare("charge", solution.total_charge, structure.charge)
    zero = torch.zeros_like(structure.positions)
    turned = structure.deformed(zero, (TURN.T - torch.eye(3, dtype=torch.float64))[None])
    moved = structure.deformed(torch.full_like(zero, 1.3), torch.zeros_like(structure.cell))
    for what, other in (("rotation", turned), ("translation", moved)):
        there = model(other)
        compare(f"{what} of charges", there.charges, solution.charges)
        compare(f"{what} of the energy", there.energy, solution.energy)
    compare("rotation of forces", model(turned).forces(), solution.forces() @ TURN.T)
    order = torch.randperm(structure.n_atoms, generator=generator)
    permuted = structure.holding(numbers=structure.numbers[order], positions=structure.positions[order])
    compare("permutation of charges", model(permuted).charges, solution.charges[order])
    compare("permutation of the energy", model(permuted).energy, solution.energy)
    if structure.pbc.any():
        twice = model(doubled(structure))
        compare("supercell", twice.energy, 2 * solution.energy)
        compare("charges in a supercell", twice.charges, solution.charges.repeat(2))
        if solution.problem.space.says_ways(1).all():
            compare("polarizability of a supercell", twice.polarizability(), 2 * solution.polarizability())
    inverted = model(inversion(structure))
    compare("inversion of charges", inverted.charges, solution.charges)
    compare("inversion of the energy", inverted.energy, solution.energy)
    noise = 0.1 * torch.randn(zero.shape, generator=generator, dtype=zero.dtype)
    pushed = structure.deformed(noise, torch.zeros_like(structure.cell))
    for what, one in (("batch", pushed), ("batch of unlike structures", doubled(pushed))):
        both = model(Structure.batch([structure, one]))
        compare(what, both.energy, torch.cat([solution.energy, model(one).energy]))
        compare(f"forces of a {what}", both.forces()[: structure.n_atoms], solution.forces())

    direction = torch.randn(zero.shape, generator=generator, dtype=zero.dtype)
    strain = torch.randn(1, 3, 3, generator=generator, dtype=zero.dtype)
    strain = 0.2 * (strain + strain.transpose(1, 2))

    def slope(dr: Tensor, de: Tensor) -> Tensor:
        sides = [float(model(structure.deformed(k * STEP * dr, k * STEP * de)).grand_potential) for k in (1, -1, 2, -2)]
        return zero.new_tensor([(8 * (sides[0] - sides[1]) - (sides[2] - sides[3])) / (12 * STEP)])

    none = torch.zeros_like(structure.cell)
    compare("forces", -(solution.forces() * direction).sum()[None], slope(direction, none))
    compare("virial", (solution.virial() * strain).sum()[None], slope(zero, strain))
    problem = solution.problem
    if not problem.closed_form and not (isinstance(problem, LawProblem) and isinstance(problem.law, ResponseLaw)):
        answers = torch.linalg.eigvalsh(solution.susceptibility().detach())
        compare("susceptibility without a positive eigenvalue", answers, answers.clamp(max=0.0))
    problem = solution.problem
    if not structure.pbc.any() or (structure.has_stress.all() and problem.knows_ways.all()):
        from cgdft.functionals import UniformField

        def dipole(k: int) -> Tensor:
            driven = (model + UniformField([0.0, 0.0, k * FIELD]))(structure)
            return driven.polarization * structure.volume[:, None] if structure.pbc.any() else driven.dipole

        alpha, sides = solution.polarizability().detach(), [dipole(k).detach() for k in (1, -1, 2, -2)]
        compare("polarizability", alpha[:, :, 2], (8 * (sides[0] - sides[1]) - (sides[2] - sides[3])) / (12 * FIELD))
    if not structure.pbc.any():
        errors["asymmetry of the polarizability"] = float((alpha - alpha.transpose(1, 2)).abs().max())
        try:
            together, lone = model(with_far_atom(structure)), model(far_atom(structure))
        except ValueError:  # its charges are not those of a neutral atom
            return errors
        errors["size consistency"] = float(together.energy) - float(solution.energy) - float(lone.energy)
        errors["charge on a far atom"] = float(together.charges[-1])
    return errors


def far_atom(structure: Structure) -> Structure:
    """A neutral atom of the first element of a structure, alone."""
    return Structure(structure.numbers[:1], structure.positions[:1])


def with_far_atom(structure: Structure) -> Structure:
    """A structure beside that atom."""
    return beside(structure, far_atom(structure), [FAR, 0.0, 0.0])
