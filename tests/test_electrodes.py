"""Two electrodes held at a potential difference by a battery, slab boundary."""

import math

import pytest
import torch
from ase.build import molecule

from cgdft import FragmentCharge, Model, Multipoles, PotentialDifference, Response, Structure, TotalCharge
from cgdft.functionals import SQE, Electronegativity, Hardness, Hartree, Operator, Stiffening, StiffeningResponse
from cgdft.solvers import CG
from cgdft.units import angstrom, eV, volt

D = torch.float64
EDGE = 8.1 * angstrom


def electrodes(gap, ions=(), cells=2, axis=2):
    """Square layers of metal, three a side, as mirror images, and ions in pairs that are mirror images too."""
    step = EDGE / cells / 2
    grid = torch.cartesian_prod(torch.arange(2 * cells, dtype=D), torch.arange(2 * cells, dtype=D)) * step
    heights = [gap / 2 + k * step for k in range(3)]
    upper = torch.cat([torch.cat([grid, torch.full((len(grid), 1), h, dtype=D)], 1) for h in heights])
    positions = torch.cat([upper * torch.tensor([1.0, 1.0, -1.0]), upper, torch.tensor(ions, dtype=D).reshape(-1, 3)])
    positions = positions.roll(axis - 2, 1)
    cell = torch.zeros(3, 3, dtype=D)
    for a in range(3):
        cell[a, a] = 0.0 if a == axis else EDGE
    numbers = [13] * (2 * len(upper)) + [11, 17] * (len(ions) // 2)
    return Structure(numbers, positions, cell, [a != axis for a in range(3)]), len(upper)


def model(n, difference, ions=0, **options):
    held = [PotentialDifference(range(n), range(n, 2 * n), difference)]
    held += [FragmentCharge([2 * n + k], charge=(-1.0) ** k) for k in range(ions)]
    return Model(
        Hartree(**options) + Electronegativity(4.0 * eV) + Hardness(0.5 * eV),
        Multipoles(width={"Al": 0.8 * angstrom, "Na": 1.0, "Cl": 1.0}),
        constraints=held,
        solver=CG(1e-11) if options else None,
    )


def test_charges_are_mirror_images():
    structure, n = electrodes(10 * angstrom)
    charges = model(n, 2.0 * volt)(structure).charges
    assert float(charges[:n].sum()) > 0.01
    assert float((charges[:n] + charges[n:]).abs().max()) < 1e-12


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_capacitance(axis):
    """1/C grows with the distance as 4 pi d / A, for any normal; the derivative is the difference."""

    def charge(gap, difference):
        structure, n = electrodes(gap * angstrom, axis=axis)
        return model(n, difference)(structure).charges[:n].sum()

    inverse = []
    for gap in (8.0, 11.0):
        difference = torch.tensor(1.0 * volt, dtype=D, requires_grad=True)
        (slope,) = torch.autograd.grad(charge(gap, difference), difference)
        inverse.append(1 / float(slope))
        structure, n = electrodes(gap * angstrom, axis=axis)
        assert float(model(n, 1.0 * volt)(structure).capacitance()) == pytest.approx(float(slope), rel=1e-12)
        assert model(n, 1.0 * volt)(structure).to_dict()["capacitance"] == [[pytest.approx(float(slope), rel=1e-12)]]
        assert float(slope) == pytest.approx(float(charge(gap, 1.0 * volt) - charge(gap, 0.0)) / volt, rel=1e-9)
    assert (inverse[1] - inverse[0]) / (3 * angstrom) == pytest.approx(4 * math.pi / EDGE**2, rel=1e-8)


STIFF = StiffeningResponse(0.2, 0.5, scale=0.3)
HELD = {
    "minimum": lambda rows: Model(Hartree() + Stiffening(0.5, 0.3), Multipoles(width=1.0), constraints=rows),
    "one of modes": lambda rows: SQE(0.1).replace(constraints=rows),
    "response law": lambda rows: Model(Hartree(), Multipoles(width=1.0), Response(STIFF), rows),
    "recursion": lambda rows: Model(Hartree(), Multipoles(width=1.6), Response(STIFF, 3), rows, readout=Stiffening(0.5, 0.3)),
}


@pytest.mark.parametrize("name", HELD)
def test_capacitance_matrix(name):
    """Of two molecules' parts at potentials, within a total charge: their charges by their potentials; its derivative too."""
    batch = Structure.batch([Structure.from_ase(molecule("CH3OH")), Structure.from_ase(molecule("CH3CH2OH"))])

    def solved(one, two):
        rows = [FragmentCharge([0], potential=one), FragmentCharge([2, 3], potential=two), TotalCharge()]
        return HELD[name](rows)(batch)

    def charges(solution):
        return torch.stack([batch.total(row) for row in (first * solution.charges, second * solution.charges)], 1)

    first = torch.isin(batch.local, torch.tensor([0])).to(D)
    second = torch.isin(batch.local, torch.tensor([2, 3])).to(D)
    matrix = solved(0.02, -0.01).capacitance()
    step = 1e-4
    by_first = (charges(solved(0.02 + step, -0.01)) - charges(solved(0.02 - step, -0.01))) / (2 * step)
    by_second = (charges(solved(0.02, -0.01 + step)) - charges(solved(0.02, -0.01 - step))) / (2 * step)
    torch.testing.assert_close(matrix, torch.stack([by_first, by_second], 2), rtol=1e-6, atol=1e-7)
    if name != "recursion":
        torch.testing.assert_close(matrix, matrix.transpose(1, 2))
        assert (torch.linalg.eigvalsh(matrix) > 0).all()
    given = torch.tensor(0.02, dtype=D, requires_grad=True)
    options = {"allow_unused": True, "materialize_grads": True}  # zero of what is quadratic
    (slope,) = torch.autograd.grad(solved(given, -0.01).capacitance()[:, 0, 1].sum(), given, **options)
    sides = [solved(0.02 + sign * step, -0.01).capacitance()[:, 0, 1].sum() for sign in (1, -1)]
    assert float(slope) == pytest.approx(float(sides[0] - sides[1]) / (2 * step), rel=1e-5, abs=1e-8)


def test_a_capacitance_needs_potentials():
    with pytest.raises(ValueError, match=r"`capacitance` needs charges held at potentials, got total;"):
        SQE(0.1)(Structure.from_ase(molecule("H2O"))).capacitance()


def test_ions_between():
    """Ions in front of electrodes at the same potential draw image charges, and feel opposite forces."""
    ions = [[2.0, 3.0, 3.0], [2.0, 3.0, -3.0]]
    structure, n = electrodes(10 * angstrom, ions)
    for options in ({}, {"operator": Operator.COMPILED, "accuracy": 1e-10}):
        solution = model(n, 0.0, ions=2, **options)(structure)
        charges, forces = solution.charges, solution.forces()
        assert float(charges[: 2 * n].sum()) == pytest.approx(0.0, abs=1e-9)
        assert float(charges[:n].sum()) > 0.01  # below, where the negative ion is
        assert float((charges[:n] + charges[n : 2 * n]).abs().max()) < 1e-8
        assert torch.allclose(forces[2 * n] * torch.tensor([1.0, 1.0, -1.0]), forces[2 * n + 1], atol=1e-7)
        assert float(forces[:, 2].sum()) == pytest.approx(0.0, abs=1e-7)
