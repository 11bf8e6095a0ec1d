"""Electrodes at a potential difference against the analytic capacitor and Thomas-Fermi screening."""

import math

import pytest
import torch

from cgdft import FragmentCharge, Model, Multipoles, Structure
from cgdft.functionals import Electrodes, Hardness, Hartree
from cgdft.functionals.models.electrodes import WIDTH
from cgdft.solvers import CG
from cgdft.units import angstrom, volt

D = torch.float64
STEP = 2.0 * angstrom  # between atoms and between layers of a simple cubic metal
CELLS = 3
AREA = (CELLS * STEP) ** 2


def plates(gap, layers=3, cells=CELLS, ions=()):
    """Two mirror images of layers of atoms, and ions between; number of atoms in each electrode."""
    grid = torch.cartesian_prod(*[torch.arange(cells, dtype=D) * STEP] * 2)
    heights = [gap / 2 + k * STEP for k in range(layers)]
    upper = torch.cat([torch.cat([grid, torch.full((len(grid), 1), h, dtype=D)], 1) for h in heights])
    positions = torch.cat([upper * torch.tensor([1.0, 1.0, -1.0]), upper, torch.tensor(ions, dtype=D).reshape(-1, 3)])
    numbers = [13] * (2 * len(upper)) + [11, 17] * (len(ions) // 2)
    cell = torch.diag(torch.tensor([cells * STEP, cells * STEP, 0.0], dtype=D))
    return Structure(numbers, positions, cell, [True, True, False]), len(upper)


def inverse_capacitance(gap, layers=3, cells=CELLS, **options):
    """dV/dQ, hartree / e^2."""
    structure, n = plates(gap, layers, cells)
    difference = torch.tensor(1.0 * volt, dtype=D, requires_grad=True)
    charge = Electrodes(range(n), range(n, 2 * n), difference, **options)(structure).charges[:n].sum()
    return 1 / float(torch.autograd.grad(charge, difference)[0])


@pytest.mark.parametrize("length", [0.0, 1.5])
def test_capacitor(length):
    """1/C grows by 4 pi / A with the distance, metal or semimetal."""
    options = {"length": length, "volume": STEP**3} if length else {}
    one, two = (inverse_capacitance(gap * angstrom, **options) for gap in (8.0, 11.0))
    assert (two - one) / (3 * angstrom) == pytest.approx(4 * math.pi / AREA, rel=1e-8)


@pytest.mark.parametrize("length", [2.0 * angstrom, 4.0 * angstrom])
def test_thomas_fermi_screening(length):
    """From layer to layer the charge falls by exp(-k a), 2 cosh(k a) = 2 + h, and 1/C is that of planes h^-1 (1 - exp(-k a)) a
    further in at each electrode: Thomas-Fermi theory of layers, a / h = l^2 / a + c / 4 pi, c what a layer of Gaussian charges
    feels of itself that a plane does not.
    """
    layer = Structure(
        [13], [[0.0, 0, 0]], torch.diag(torch.tensor([STEP, STEP, 0.0], dtype=D)), [True, True, False], charge=1.0
    )
    itself = 2 * float(Model(Hartree(), Multipoles(width=WIDTH))(layer).energy) * STEP**2
    a_by_h = length**2 / STEP + itself / (4 * math.pi)
    fall = math.exp(-math.acosh(1 + STEP / (2 * a_by_h)))
    structure, n = plates(10 * angstrom, layers=20, cells=1)
    charges = Electrodes(range(n), range(n, 2 * n), 1.0 * volt, length, STEP**3)(structure).charges[n:]
    assert (charges[1:8] / charges[:7]).tolist() == pytest.approx([fall] * 7, rel=2e-3)
    inverse = inverse_capacitance(10 * angstrom, 20, 1, length=length, volume=STEP**3)
    assert inverse * STEP**2 / (4 * math.pi) - 10 * angstrom == pytest.approx(2 * a_by_h * (1 - fall), rel=2e-3)


def test_ions_between():
    """Ions of fixed charge draw image charges; the battery keeps both potentials; forces are those at fixed potential."""
    structure, n = plates(12 * angstrom, ions=[[2.0, 3.0, 4.0], [5.0, 1.0, -3.0]])
    rest = [FragmentCharge([2 * n], charge=1.0, name="Na"), FragmentCharge([2 * n + 1], charge=-1.0, name="Cl")]
    model = Electrodes(range(n), range(n, 2 * n), 0.5 * volt, 1.0, STEP**3, {"Al": 0.8, "Na": 1.0, "Cl": 1.2}, rest=rest)
    solution = model(structure)
    assert solution.charges[2 * n :].tolist() == pytest.approx([1.0, -1.0], abs=1e-12)
    assert float(solution.total_charge) == pytest.approx(0.0, abs=1e-11)
    step = torch.zeros_like(structure.positions)
    step[2 * n, 2] = 1e-3
    ends = [float(model(structure.deformed(sign * step, 0 * structure.cell)).grand_potential) for sign in (1, -1)]
    assert float(solution.forces()[2 * n, 2]) == pytest.approx(-(ends[0] - ends[1]) / 2e-3, abs=1e-8)
    both = model(Structure.batch([structure, structure]))
    assert torch.allclose(both.charges[: structure.n_atoms], solution.charges, atol=1e-11)


def test_atoms_by_a_function():
    structure, n = plates(9 * angstrom)
    numbers = Electrodes(range(n), range(n, 2 * n), 1.0 * volt)(structure)
    chosen = Electrodes(lambda s: s.positions[:, 2] < 0, lambda s: s.positions[:, 2] > 0, 1.0 * volt)(structure)
    assert torch.equal(numbers.charges, chosen.charges)
    assert float(numbers.charges[0]) > 0


IONS = [[2.0, 3.0, 4.0], [5.0, 1.0, -3.0]]


def test_thomas_fermi_is_of_electrodes_alone():
    """Ions and molecules have none of it, and terms of their own; each electrode may have its own."""
    structure, n = plates(12 * angstrom, ions=IONS)
    rest = [FragmentCharge([2 * n], charge=1.0, name="Na"), FragmentCharge([2 * n + 1], charge=-1.0, name="Cl")]

    def model(*of_metal):
        return Electrodes(range(n), range(n, 2 * n), 0.1, *of_metal, rest=rest)

    held = model(2.0, 50.0)(structure)
    felt = model()(structure).hardness_matrix()[0] @ held.charges  # Hartree's
    assert float(held.potentials["Na"] - held.potentials["Cl"]) == pytest.approx(
        float(felt[2 * n] - felt[2 * n + 1]), abs=1e-10
    )
    squares = (held.charges[: 2 * n] ** 2).sum()
    assert float(held.energies["Hardness"]) == pytest.approx(float(2 * math.pi * 4.0 / 50.0 * squares), rel=1e-12)
    more = model(2.0, 50.0) + Hardness({"Al": 0.0, "Na": 0.5, "Cl": 0.5})
    assert torch.allclose(more(structure).charges, held.charges, atol=1e-10)
    each = model((0.0, 3.0), (None, 50.0))(structure)
    bare = each.hardness_matrix()[0] - model()(structure).hardness_matrix()[0]
    expected = torch.tensor([0.0] * n + [4 * math.pi * 9.0 / 50.0] * n + [0.0, 0.0], dtype=D)
    assert torch.allclose(bare, torch.diag(expected), atol=1e-10)


def test_charges_of_what_is_between():
    """As by a constraint for each, forces and stress too; and what the charges leave of the structure's is on the metal."""
    structure, n = plates(12 * angstrom, ions=IONS)
    rest = [FragmentCharge([2 * n], charge=1.0), FragmentCharge([2 * n + 1], charge=-0.7)]
    each = Electrodes(range(n), range(n, 2 * n), 0.1, rest=rest)(structure)
    given = Electrodes(range(n), range(n, 2 * n), 0.1, charges={"Al": 0.0, "Na": 1.0, "Cl": -0.7})
    solution = given(structure)
    assert float(solution.total_charge) == pytest.approx(0.0, abs=1e-10)
    assert torch.allclose(solution.charges, each.charges, atol=1e-10)
    assert torch.allclose(solution.grand_potential, each.grand_potential, atol=1e-10)
    assert torch.allclose(solution.forces(), each.forces(), atol=1e-9)
    assert torch.allclose(solution.virial(), each.virial(), atol=1e-8)
    assert torch.allclose(solution.capacitance(), each.capacitance(), atol=1e-10)
    moved = structure.deformed(0.01 * torch.cos(structure.positions), 0 * structure.cell)
    iterative = given.replace(solver=CG(1e-10))
    cold = iterative(moved).iterations
    assert iterative(moved, start=solution).iterations < cold


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": 1.0}, "`length` and `volume` must be numbers greater than zero, or left out, got length=1.0, volume=None"),
        ({"length": 1.0, "volume": 0.0}, "got length=1.0, volume=0.0"),
        ({"length": 1.0, "volume": -50.0}, "got length=1.0, volume=-50.0"),
        ({"length": math.nan, "volume": 50.0}, "got length=nan, volume=50.0"),
        ({"volume": 50.0}, "`length` must be given with a `volume`, got length=0.0, volume=50.0"),
        ({"difference": None}, "`difference` must be given"),
        ({"difference": math.nan}, "`difference` must be finite"),
        ({"difference": [0.1, 0.2]}, r"`difference` must be one number or \(1,\)"),
        (
            {"first": lambda s: s.positions[:, 2] > 100.0},
            "`first` must be some atoms in each structure, got none in structure 0",
        ),
        ({"charges": {"Na": 1.0, "Cl": -1.0}}, "`p0` must have a value for every element, got none for Al"),
    ],
)
def test_wrong_electrodes(changes, message):
    structure, n = plates(12 * angstrom, ions=IONS)
    options = {"first": range(n), "second": range(n, 2 * n), "difference": 0.1, "rest": [], **changes}
    if "charges" not in changes:
        options["charges"] = {"Al": 0.0, "Na": 1.0, "Cl": -1.0}
    with pytest.raises(ValueError, match=message):
        Electrodes(**options)(structure)


def test_rest_is_a_list():
    with pytest.raises(TypeError, match="`rest` must be a list of Constraint objects"):
        Electrodes([0], [1], 0.1, rest=FragmentCharge([2], charge=1.0))
    with pytest.raises(TypeError, match="`atoms` must be numbers of atoms, a mask or a function structure -> mask, got 'Na'"):
        Electrodes("Na", [1], 0.1)(plates(8.0)[0])


def test_a_perfect_metal_beside_one_that_screens():
    """The hardness of each electrode is its own, zero of a perfect metal."""
    structure = Structure([13, 13, 79, 79], [[0.0, 0, 0], [0, 0, 4], [0, 0, 20], [0, 0, 24]])
    model = Electrodes(lambda s: s.numbers == 13, lambda s: s.numbers == 79, 0.1, length=(0.0, 1.0), volume=50.0, width=1.0)
    (hardness,) = (term for term in model.functional if isinstance(term, Hardness))
    assert hardness.eta(structure).tolist() == pytest.approx([0, 0, *2 * [4 * math.pi / 50]])


def test_of_images_along_the_normal_it_is_said():
    structure, n = plates(8.0 * angstrom)
    model = Electrodes(range(n), range(n, 2 * n), 1.0 * volt)
    assert "images" not in str(model(structure))
    cell = structure.cell[0] + torch.diag(torch.tensor([0.0, 0.0, 80.0], dtype=D))
    assert "note: the field between electrodes also goes through the vacuum" in str(
        model(Structure(structure.numbers, structure.positions, cell, True))
    )
