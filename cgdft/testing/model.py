"""The check that every model must pass, for those of the package and for a user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from cgdft.problems.law_problem import LawProblem
from cgdft.response_law import ResponseLaw
from cgdft.solver import SolverError
from cgdft.structure import Structure, require_structure
from cgdft.testing.causes import by_number, cause, per_atom, told
from cgdft.testing.jumps import largest_jump
from cgdft.testing.structures import TURN, beside, doubled, inversion, stretched

if TYPE_CHECKING:
    from cgdft.model import Model

#: Bohr to the lone atom by which size-consistency is measured: far, but not so far that rounding matters.
FAR = 400.0
#: Part of their distances by which atoms come nearer where a model has no minimum with them nearer still.
NEARER = 0.05
STEP, FIELD = 1e-3, 1e-4  # bohr, and hartree / (e bohr), of four-point differences
OF_ITS_OWN = "a term with a place or a direction of its own says external = True; a constraint or an ansatz may have one too"
SEEN = "torch must see all of the energy and of what it is made of: no numpy, no detach, no operation in place"
#: What the cause may be where a check of this name, or one that begins so, fails.
REMEDIES = {
    "rotation": OF_ITS_OWN,
    "translation": OF_ITS_OWN,
    "inversion": OF_ITS_OWN,
    "permutation": "parameters per atom and numbers of atoms are given as a tensor or list, not within a function; and nothing "
    "else may depend on the order of the atoms",
    "batch": "atoms of different structures must not meet: structure.index says of which each is",
    "forces of a batch": "atoms of different structures must not meet: structure.index says of which each is",
    "supercell": "a term of the structure as a whole says extensive = False; else sum over atoms and all images of pairs",
    "forces": SEEN,
    "virial": SEEN,
    "continuity": "what ends at a distance must go to zero there; an ansatz whose bonds come and go says continuous = False",
    "polarizability": SEEN,
}


def check_model(model: Model, structure: Structure, tolerance: float = 1e-6, seed: int = 0) -> dict[str, float]:
    """Check what the package promises of a model: charge, invariance, cells, batches, forces, virial, continuity, response.

    Left out is what does not hold: of terms that are `external` or not `extensive`, of an ansatz that is not `continuous`, of
    fixed charges that do not grow with the structure; and other orders of the atoms and other structures, where parameters are
    given per atom, or a constraint or the ansatz names atoms by number.

    Args:
        model: what to check.
        structure: one structure, or a batch, without symmetry to hide mistakes. What ends at a distance is seen to jump only
            where some atoms are about that far apart, as some are in a periodic structure.
        tolerance: largest allowed error, relative to the size of what is compared.

    Returns:
        The relative error of each check; and, of a structure without periodic axes, properties of the model that are no
        errors of ours: the "asymmetry of the polarizability" (bohr^3), zero where the energy is minimised; and of a single
        one "size consistency", what the energy (hartree) changes by a neutral atom of the first element 400 bohr away, beyond
        that atom's own; and the "charge on a far atom" (e) that it then has; both left out of models with no neutral atom.

    Raises:
        AssertionError: naming the check, what was expected and what was got, with a likely cause.
        TypeError: no structure.
    """
    require_structure(structure)
    generator = torch.Generator().manual_seed(seed)
    solution = model(structure)
    problem = solution.problem
    errors: dict[str, float] = {}

    def compare(what: str, got: Tensor, expected: Tensor, allowed: float = tolerance) -> None:
        error = float((got - expected).detach().abs().max()) / (1e-3 + float(expected.detach().abs().max()))
        errors[what] = error
        if not error <= allowed:
            why = cause(what, got, error, model, REMEDIES)
            raise AssertionError(f"{model.name}: {what}: {told(got, expected)} (relative error {error:.2e}){why}")

    for row in problem.fixed:
        if row.name == "total":
            compare("charge", solution.total_charge, cast(Tensor, row.charge))
    terms = [*model.functional, *(model.readout or ())]
    placed, single = any(term.external for term in terms), len(structure) == 1
    numbered = per_atom(model) or by_number(model.ansatz) or any(by_number(one) for one in model.constraints)
    zero, none = torch.zeros_like(structure.positions), torch.zeros_like(structure.cell)
    if not placed:
        turned = structure.deformed(zero, (TURN.T - torch.eye(3, dtype=torch.float64)).expand(len(structure), 3, 3))
        moved = structure.deformed(torch.full_like(zero, 1.3), none)
        for what, other in (("rotation", turned), ("translation", moved), ("inversion", inversion(structure))):
            there = model(other)
            compare(f"{what} of charges", there.charges, solution.charges)
            compare(f"{what} of the energy", there.energy, solution.energy)
        compare("rotation of forces", model(turned).forces(), solution.forces() @ TURN.T)
    if not numbered:
        order = (structure.index + torch.rand(structure.n_atoms, generator=generator, dtype=zero.dtype)).argsort()
        permuted = model(structure.holding(numbers=structure.numbers[order], positions=structure.positions[order]))
        compare("permutation of charges", permuted.charges, solution.charges[order])
        compare("permutation of the energy", permuted.energy, solution.energy)
        noise = 0.1 * torch.randn(zero.shape, generator=generator, dtype=zero.dtype)
        pushed = structure.deformed(noise, none)
        for what, one in (("batch", pushed), ("batch of unlike structures", doubled(pushed) if single else pushed[0])):
            both = model(Structure.batch([structure, one]))
            compare(what, both.energy, torch.cat([solution.energy, model(one).energy]))
            compare(f"forces of a {what}", both.forces()[: structure.n_atoms], solution.forces())
    if structure.pbc.any() and single and all(term.extensive for term in terms) and not (placed or numbered):
        twice = model(doubled(structure))
        if all(torch.allclose(two.charge, 2 * one.charge) for one, two in zip(problem.fixed, twice.problem.fixed, strict=True)):
            compare("supercell", twice.energy, 2 * solution.energy)
            compare("charges in a supercell", twice.charges, solution.charges.repeat(2))
            if problem.space.says_ways(1).all():
                compare("polarizability of a supercell", twice.polarizability(), 2 * solution.polarizability())

    direction = torch.randn(zero.shape, generator=generator, dtype=zero.dtype)
    strain = torch.randn(len(structure), 3, 3, generator=generator, dtype=zero.dtype)
    strain = 0.2 * (strain + strain.transpose(1, 2))

    def energy(at: Structure) -> Tensor:
        return model(at).grand_potential.sum()

    def slope(dr: Tensor, de: Tensor) -> Tensor:
        sides = [energy(structure.deformed(k * STEP * dr, k * STEP * de)).detach() for k in (1, -1, 2, -2)]
        return (8 * (sides[0] - sides[1]) - (sides[2] - sides[3])) / (12 * STEP)

    compare("forces", -(solution.forces() * direction).sum(), slope(direction, none))
    compare("virial", (solution.virial() * strain).sum(), slope(zero, strain))
    if model.ansatz.continuous and not placed:

        def in_reach(t: Tensor) -> Tensor:
            return energy(stretched(structure, t))

        try:
            jump = largest_jump(in_reach, enough=1e-4 * tolerance)
        except SolverError:  # no minimum with all atoms so near
            jump = largest_jump(in_reach, reach=NEARER, enough=1e-4 * tolerance)
        compare("continuity", solution.grand_potential.sum() + jump, solution.grand_potential.sum())
    if not problem.closed_form and not (isinstance(problem, LawProblem) and isinstance(problem.law, ResponseLaw)):
        answers = torch.linalg.eigvalsh(solution.susceptibility().detach())
        compare("susceptibility without a positive eigenvalue", answers, answers.clamp(max=0.0))
    if not structure.pbc.any() or (structure.has_stress.all() and problem.knows_ways.all()):
        from cgdft.functionals import UniformField

        def dipole(k: int) -> Tensor:
            driven = (model + UniformField([0.0, 0.0, k * FIELD]))(structure)
            return driven.polarization * structure.volume[:, None] if structure.pbc.any() else driven.dipole

        alpha, sides = solution.polarizability().detach(), [dipole(k).detach() for k in (1, -1, 2, -2)]
        compare("polarizability", alpha[:, :, 2], (8 * (sides[0] - sides[1]) - (sides[2] - sides[3])) / (12 * FIELD))
    if not structure.pbc.any():
        errors["asymmetry of the polarizability"] = float((alpha - alpha.transpose(1, 2)).abs().max())
        if single and not (placed or numbered):
            try:
                together, lone = model(with_far_atom(structure)), model(far_atom(structure))
            except ValueError:  # its charges are not those of a neutral atom
                return errors
            errors["size consistency"] = float((together.energy - solution.energy - lone.energy).detach())
            errors["charge on a far atom"] = float(together.charges[-1].detach())
    return errors


def far_atom(structure: Structure) -> Structure:
    """A neutral atom of the first element of a structure, alone."""
    return Structure(structure.numbers[:1], structure.positions[:1])


def with_far_atom(structure: Structure) -> Structure:
    """A structure beside that atom."""
    return beside(structure, far_atom(structure), [FAR, 0.0, 0.0])
