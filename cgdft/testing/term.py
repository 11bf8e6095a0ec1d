"""The check that every term must pass, for those of the package and for a user's own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cgdft.basis import Multipoles
from cgdft.density import Density
from cgdft.electrostatics.multipole import rotation
from cgdft.finite import finite
from cgdft.slopes import askew, slope
from cgdft.structure import Structure, require_structure
from cgdft.terms import MADE, Term, checked_energy
from cgdft.testing.causes import cause, per_atom, told
from cgdft.testing.jumps import largest_jump
from cgdft.testing.structures import TURN, doubled, inversion, stretched

#: Of differences of energies, a part of what is random.
STEP = 1e-3
#: What to do where a check of this name, or one that begins so, fails.
REMEDIES = {
    "repetition": "a term must give the same each time; draw random numbers once, in its __init__",
    "translation": "a term with a place or a direction of its own says external = True",
    "rotation": "a term with a place or a direction of its own says external = True",
    "atoms in other cells": "periodic structures need differences to the nearest images, as near_pairs gives them",
    "supercell": "a term of the structure as a whole says extensive = False; else sum over atoms and all images of pairs",
    "batch": "atoms of different structures must not meet: structure.index says of which each is",
    "permutation": "a term must not depend on the order of the atoms",
    "gradient": "leave a gradient of its own out, or make it the derivative of the energy",
    "curvature": "leave a curvature of its own out, or make it the second derivative of the energy",
    "first derivative": "torch must see all of the energy: no numpy, no detach, no operation in place",
    "second derivative": "torch must see all of the energy and of its derivative: no numpy, no detach, no operation in place",
    "kink": "the energy must be smooth where there is no density",
    "continuity of the density": "what begins or ends at a density must do so smoothly",
    "continuity": "what ends at a distance must go to zero there",
    "declared quadratic": "its second derivatives change with the density: leave quadratic=True out",
    "declared local": "its second derivatives couple atoms: leave local=True out",
    "declared convex": "it bends downwards at some density: leave convex=True out",
    "stated least": "leave a lower_bound of its own out, or make it nowhere above the second derivative of the energy",
}


def check_term(
    term: Term, structure: Structure, basis: Multipoles | None = None, tolerance: float = 1e-6, seed: int = 0
) -> dict[str, float]:
    """Check all that the package relies on: shape, invariance, cells, batches, continuity, derivatives, declared structure.

    Args:
        term: the term.
        structure: one structure to try it on; its density gets random coefficients, so that nothing is zero by accident. What
            depends on distances, or on the charge of the structure, is seen only where there are some.
        basis: default: l <= 2, width 1 bohr, with spin for a term that is zero without.
        tolerance: largest allowed error, relative to the size of what is compared.

    Returns:
        The relative error of each check.

    Raises:
        AssertionError: naming the check, what was expected and what was got; an energy that is zero there altogether.
        TypeError, ValueError: no term; an energy of the wrong shape.
    """
    if not isinstance(term, Term):
        raise TypeError(f"`term` must be a cgdft.Term, got {term!r}; {MADE}")
    require_structure(structure)
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    if basis is None:
        basis = Multipoles(2, width=1.0)
        some = _within(term, structure, basis, random(structure.n_atoms, basis.size))
        energy = checked_energy(term, Density(structure, basis.prepare(structure), some))
        basis = basis if energy.any() else Multipoles(2, width=1.0, spin=True)
    drawn = random(structure.n_atoms, basis.size)
    p = _within(term, structure, basis, drawn)
    extent = float(p.abs().max() / drawn.abs().max()) if len(drawn) else 1.0
    rho = Density(structure, basis.prepare(structure), p)
    errors: dict[str, float] = {}

    def compare(what: str, got: Tensor, expected: Tensor, allowed: float = tolerance) -> None:
        scale = 1e-3 + float(expected.detach().abs().max()) if expected.numel() else 1.0
        error = float((got - expected).detach().abs().max()) / scale if expected.numel() else 0.0
        errors[what] = error
        if not error <= allowed:
            why = cause(what, got, error, term, REMEDIES)
            raise AssertionError(f"{term.name}: {what}: {told(got, expected)} (relative error {error:.2e}){why}")

    energy = checked_energy(term, rho)
    compare("repetition", term.energy(rho), energy, 1e-12)
    gradient, way = Term.gradient(term, rho), extent * askew(p)
    sides = [term.energy(rho.at(p + k * STEP * way)).sum() for k in (-2, -1, 0, 1, 2)]
    compare("first derivative by the density", (gradient * way).sum(), _first(sides))
    numbered = per_atom(term) or per_atom(basis)
    if not term.external:
        moved = structure.deformed(torch.full_like(structure.positions, 1.7), torch.zeros_like(structure.cell))
        compare("translation", term.energy(Density(moved, basis, p)), energy)
        turned = structure.deformed(
            torch.zeros_like(structure.positions),
            (TURN.T - torch.eye(3, dtype=torch.float64)).expand(len(structure), 3, 3),
        )
        turned_p = (p.unflatten(1, (-1, basis.shells)) @ rotation(TURN, basis.lmax).T).flatten(1)
        compare("rotation", term.energy(Density(turned, basis, turned_p)), energy)
        inverted = inversion(structure)
        odd = [(-1.0) ** l for l in range(basis.lmax + 1) for _ in range(2 * l + 1)]  # noqa: E741
        inverted_p = (p.unflatten(1, (-1, basis.shells)) * p.new_tensor(odd)).flatten(1)
        compare("inversion", term.energy(Density(inverted, basis, inverted_p)), energy)
    if structure.pbc.any():
        cells = torch.randint(-2, 3, structure.positions.shape, generator=generator) * structure.pbc[structure.index]
        away = (cells[:, None].to(structure.cell) @ structure.cell[structure.index])[:, 0]
        elsewhere = structure.deformed(away, torch.zeros_like(structure.cell))
        compare("atoms in other cells", term.energy(Density(elsewhere, basis, p)), energy)
        if term.extensive and not (term.external or numbered) and len(structure) == 1:
            for axis in torch.nonzero(structure.pbc[0]).flatten().tolist():
                larger = Density(doubled(structure, axis), basis, p.repeat(2, 1))
                compare(f"supercell along axis {axis}", term.energy(larger), 2 * energy)
    if not numbered and len(structure) == 1:
        order = torch.randperm(structure.n_atoms, generator=generator)
        permuted = structure.holding(numbers=structure.numbers[order], positions=structure.positions[order])
        compare("permutation", term.energy(Density(permuted, basis, p[order])), energy)
        other = structure.deformed(0.1 * random(structure.n_atoms, 3), torch.zeros_like(structure.cell))
        for what, more in (("batch", other), ("batch of unlike structures", doubled(other))):
            both, q = Structure.batch([structure, more]), extent * random(more.n_atoms, basis.size)
            alone = torch.cat([energy, term.energy(Density(more, basis, q))])
            compare(what, checked_energy(term, Density(both, basis, torch.cat([p, q]))), alone)

    if not energy.any() and not gradient.any():
        raise AssertionError(
            f"{term.name}: nothing to check: its energy is zero on {structure!r}, whatever the density; try a structure where "
            "it is not (nearer atoms, a net charge)"
        )
    prepared = term.prepare(structure, rho.basis)
    compare("prepared energy", prepared.energy(rho), energy)
    whole = Term.hessian(_by_autograd(term), rho)
    if term.local:
        atom = torch.arange(whole.shape[1], device=p.device) // basis.size
        compare("declared local", whole, whole * (atom[:, None] == atom))
    for name, one in (("term", term), ("prepared term", prepared)):
        compare(f"gradient of the {name}", one.gradient(rho), gradient)
        v = random(*p.shape)
        compare(f"curvature of the {name}", one.curvature(rho)(v), Term.curvature(_by_autograd(term), rho)(v))
    hessian = prepared.hessian(rho)
    compare("hessian", hessian, whole)
    compare("symmetry of the hessian", hessian, hessian.transpose(1, 2))

    # where solvers begin: with no density at all
    nothing, h = torch.zeros_like(p), 1e-4
    bent = term.curvature(Density(structure, rho.basis, nothing))(v)
    slopes = [Term.gradient(term, Density(structure, rho.basis, k * h * v)) for k in (-1, 0, 1)]
    compare("first derivative without density", slopes[1], slopes[1].nan_to_num(), 0.0)
    compare("second derivative without density", bent, bent.nan_to_num(), 0.0)
    compare("kink without density", slopes[2] - slopes[0] - 2 * h * bent + slopes[1], slopes[1], 1e-3)

    # first and second derivatives along a line through coefficients, positions and cell
    dp, dr, de = extent * random(*p.shape), random(structure.n_atoms, 3), random(len(structure), 3, 3)
    dr, de = 0.3 * dr, 0.1 * (de + de.transpose(1, 2)) * structure.pbc.any(1)[:, None, None]

    def along(t: Tensor) -> Tensor:
        at = structure.deformed(t * dr, t * de)
        return term.energy(Density(at, basis, p + t * dp)).sum()

    def prepared_along(t: Tensor) -> Tensor:
        at = structure.deformed(t * dr, t * de)
        there = basis.prepare(at)
        return term.prepare(at, there).energy(Density(at, there, p + t * dp)).sum()

    def scaled(t: Tensor) -> Tensor:
        return term.energy(Density(structure, basis, (1 + t) * p)).sum()

    def in_reach(t: Tensor) -> Tensor:
        return term.energy(Density(stretched(structure, t), basis, p)).sum()

    enough = 1e-4 * tolerance
    jump = largest_jump(scaled, reach=0.95, points=41, enough=enough)
    compare("continuity of the density", energy.sum() + jump, energy.sum())
    _check_line("term", along, compare, tolerance)
    _check_line("prepared term", prepared_along, compare, tolerance)
    if not numbered and not term.external:
        jump = largest_jump(in_reach, enough=enough)
        compare("continuity", energy.sum() + jump, energy.sum())

    if term.quadratic:
        compare("declared quadratic", prepared.hessian(Density(structure, rho.basis, extent * random(*p.shape))), hessian)
    if prepared.convex or (term.convex and bool((structure.pbc.all(1) | ~structure.pbc.any(1)).all())):
        for some in (p, nothing, -p, 2 * p, -2 * p, *(extent * random(*p.shape) for _ in range(3))):
            values = torch.linalg.eigvalsh(prepared.hessian(rho.at(some)))
            compare("declared convex", values.clamp(max=0.0), torch.zeros_like(values))
    for neutral in () if term.local else (False, True):
        least = prepared.lower_bound(rho, neutral)
        if least is not None:
            part = torch.diag_embed(least.new_zeros(len(structure), hessian.shape[1]))
            size = basis.size
            place = structure.local[:, None] * size + torch.arange(size, device=p.device)
            part[structure.index[:, None], place, place] = least
            change = torch.eye(hessian.shape[1], dtype=p.dtype, device=p.device).repeat(len(structure), 1, 1)
            if neutral:
                charge = p.new_zeros(len(structure), hessian.shape[1])
                charge[structure.index, structure.local * size] = structure.counts[structure.index].to(p) ** -0.5
                change = change - charge[:, :, None] * charge[:, None, :]
            values = torch.linalg.eigvalsh(change @ (hessian - part) @ change)
            compare("stated least", values.clamp(max=0.0), torch.zeros_like(values))
    return errors


def _within(term: Term, structure: Structure, basis: Multipoles, p: Tensor) -> Tensor:
    """Coefficients, made smaller as far as needed for the term to have an energy there and at twice as much."""
    for size in (1.0, 0.1, 0.01):
        if all(finite(term.energy(Density(structure, basis.prepare(structure), k * size * p))) for k in (-2, -1, 1, 2)):
            return size * p
    return p


def _check_line(
    name: str, along: Callable[[Tensor], Tensor], compare: Callable[[str, Tensor, Tensor, float], None], tolerance: float
) -> None:
    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    value = along(t)
    first = slope(value, t, graph=True)
    curvature = slope(first, t)
    with torch.no_grad():
        e = [along(torch.tensor(k * STEP, dtype=torch.float64)) for k in (-2, -1, 0, 1, 2)]
        compare(f"first derivative of the {name}", first, _first(e), tolerance)
        bent = (-e[0] + 16 * e[1] - 30 * e[2] + 16 * e[3] - e[4]) / (12 * STEP**2)
        compare(f"second derivative of the {name}", curvature, bent, 10 * tolerance)


def _first(e: Sequence[Tensor]) -> Tensor:
    """The derivative by energies two steps before, one before, there, one and two after."""
    return (e[0] - 8 * e[1] + 8 * e[3] - e[4]) / (12 * STEP)


def _by_autograd(term: Term) -> Term:
    """The term without its declared locality, so that its Hessian is derived in full."""
    plain = copy.copy(term)
    plain.local = False
    return plain
