"""Coulomb sums of structures of any shape: skewed cells, flat sheets, straight chains, lone atoms."""

import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, graphene
from ase.io.cube import read_cube

from cgdft import Density, Model, Multipoles, Structure
from cgdft.density import _Unweighted
from cgdft.electrostatics import compiled_points
from cgdft.electrostatics.compiled_points import felt_at
from cgdft.functionals import Electronegativity, Hardness, Hartree, Operator, QEq, hartree
from cgdft.functionals.models.qeq import CHI, HARDNESS
from cgdft.units import angstrom

D = torch.float64
SKEWED = {
    "face-centred": ([[0, 5.7, 5.7], [5.7, 0, 5.7], [5.7, 5.7, 0]], [True] * 3),
    "hexagonal": ([[8, 0, 0], [-4, 6.93, 0], [0, 0, 8]], [True] * 3),
    "rhombohedral, 33 degrees": ([[8, 0, 0], [6.71, 4.36, 0], [6.71, 1.99, 3.88]], [True] * 3),
    "sheared": ([[8, 0, 0], [24, 8, 0], [-16, 8, 8]], [True] * 3),
    "slab, 18 degrees": ([[8, 0, 0], [24, 8, 0], [0, 0, 30]], [True, True, False]),
}


def relative(found, wanted):
    return float((found - wanted).detach().norm() / wanted.detach().norm())


def derivatives(structure, basis, p, operator):
    """Energy, its slope by positions, and the virial."""
    changes = [torch.zeros_like(one).requires_grad_() for one in (structure.positions, structure.cell)]
    energy = Hartree(operator=operator).energy(Density(structure.deformed(*changes), basis, p))
    return [energy.detach(), *torch.autograd.grad(energy.sum(), changes)]


def random_multipoles(structure, lmax):
    p = torch.randn(structure.n_atoms, (lmax + 1) ** 2, generator=torch.Generator().manual_seed(3), dtype=D)
    return p - p.mean(0)


@pytest.mark.parametrize("name", SKEWED)
def test_skewed_cells_are_no_worse(name):
    """Energy, forces and virial of both meshes, and potentials at points, as of exact sums."""
    cell, pbc = SKEWED[name]
    fraction = torch.rand(60, 3, generator=torch.Generator().manual_seed(3), dtype=D)
    structure = Structure([8] * 60, fraction @ torch.tensor(cell, dtype=D), cell, pbc)
    basis, p = Multipoles(1, width=0.5), random_multipoles(structure, 1)
    exact = derivatives(structure, basis, p, Operator.EWALD)
    for operator in (Operator.COMPILED, Operator.MESH):
        for one, two in zip(derivatives(structure, basis, p, operator), exact, strict=True):
            assert relative(one, two) < 1e-7
    rho, points = Density(structure, basis, p), structure.positions[:20] + 0.7
    here = felt_at(structure, 0, rho.sites, rho.multipoles, points, 0)
    assert relative(here[:, 0], rho.potential(points)) < 1e-7


def test_a_lattice_in_other_cells():
    """Charges, energy and stress of a crystal, in as many iterations but one, with lattice vectors at 90 to 27 degrees."""
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True).repeat(3)
    atoms.rattle(0.1, seed=1)
    cell, found = atoms.cell.array.copy(), []
    for vectors in ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [2, 1, 0], [0, 0, 1]], [[1, 0, 0], [1, 1, 0], [-1, 1, 1]]):
        atoms.set_cell(np.array(vectors) @ cell)
        found.append(QEq()(Structure.from_ase(atoms)))
    for one in found[1:]:
        assert relative(one.charges, found[0].charges) < 1e-7
        assert relative(one.energy, found[0].energy) < 1e-9
        assert relative(one.stress(), found[0].stress()) < 1e-6
        assert abs(one.iterations - found[0].iterations) <= 1


def sheet():
    atoms = graphene(size=(5, 5, 1))
    atoms.pbc = [True, True, False]
    return Structure.from_ase(atoms)


def chain(n, pbc):
    return Structure.from_ase(Atoms("HF" * (n // 2), [[0, 0, 1.2 * i] for i in range(n)], cell=[0, 0, 1.2 * n], pbc=pbc))


THIN = {
    "sheet": sheet,
    "wire": lambda: chain(40, [False, False, True]),
    "chain": lambda: chain(40, False),
    "long chain": lambda: chain(1600, False),
    "cluster and atom": lambda: Structure.batch(
        [Structure([8] * 60, 12 * torch.rand(60, 3, generator=torch.Generator().manual_seed(1))), Structure([8], [[0.0, 0, 0]])]
    ),
}


@pytest.mark.parametrize("name", THIN)
def test_what_is_thin_along_open_axes(name):
    structure = THIN[name]()
    basis, p = Multipoles(1, width=1.0), random_multipoles(structure, 1)
    found, exact = (derivatives(structure, basis, p, which) for which in (Operator.COMPILED, Operator.EWALD))
    for one, two in zip(found, exact, strict=True):
        assert float((one - two).abs().max()) < 1e-7 * float(two.abs().max())
    rho, points = Density(structure, basis, p), structure.positions[:20] + 0.3
    here = felt_at(structure, 0, rho.sites, rho.multipoles, points, 0)
    assert here is None or relative(here[:, 0], rho.potential(points, torch.zeros(20, dtype=torch.int64))) < 1e-7


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 0, 1), (0, 0, 0)])
@pytest.mark.parametrize("kinds", [3, 40])
def test_densities_and_potentials_of_unlike_widths(pbc, kinds, monkeypatch):
    """By a mesh, where each of a few widths has its own, as by explicit sums."""
    for cost in ("EXPLICIT", "GAUSSIAN", "PAIR"):
        monkeypatch.setattr(compiled_points, cost, 1e12)  # a mesh where there are few points, too
    structure = Structure(
        [8] * 60, 12 * torch.rand(60, 3, generator=torch.Generator().manual_seed(1), dtype=D), 12 * torch.eye(3), pbc
    )
    widths = 0.6 + 0.8 * (torch.arange(60) % kinds) / kinds
    rho = Density(structure, Multipoles(1, width=widths.double()), random_multipoles(structure, 1))
    points, index = 12 * torch.rand(20, 3, generator=torch.Generator().manual_seed(2), dtype=D), torch.zeros(20).long()
    assert relative(rho._by_mesh(points, index, 1, 1e-8), rho._summed(points, index, 1, 1e-12)) < 1e-7
    found = rho._by_mesh(points, index, 0, 1e-8, _Unweighted)
    assert (found is None) == (kinds == 40)
    assert found is None or relative(found[:, 0], rho.values(points)) < 1e-7


def test_long_chains_have_thin_meshes():
    """A box of bulk's or a wire's kind would be as wide as they are long."""
    structure = chain(1600, False)

    def solution(operator):
        functional = Hartree(self_interaction=False, operator=operator) + Electronegativity(CHI) + Hardness(HARDNESS)
        return QEq().replace(functional=functional)(structure)

    compiled = solution(Operator.COMPILED)
    (hartree,) = (term for term in compiled.problem.functional if term.name == "Hartree")
    assert 0 < math.prod(hartree.coulomb.plans[0].shape) < 1e3 * structure.n_atoms
    assert relative(compiled.charges, solution(Operator.DENSE).charges) < 1e-8


def test_vectors_along_open_axes_do_not_matter():
    """Not their length, their direction, or their sense."""
    found = []
    for third in ([0, 0, 20.0], [3.0, 1.0, 9.0], [0, 0, -1.0], [0, 0, 0]):
        structure = Structure([8, 1, 1], [[0, 0, 0], [1.8, 0, 0.3], [0, 1.8, -0.4]], [[7, 0, 0], [1, 8, 0], third], [1, 1, 0])
        solution = QEq()(structure)
        found.append(torch.cat([solution.energy, solution.charges, solution.virial().flatten()]))
    for one in found[1:]:
        assert torch.allclose(one, found[0], rtol=1e-9, atol=1e-12)


def test_a_cube_of_a_slab_has_its_cell(tmp_path):
    structure = Structure([8, 1], [[0, 0, 0], [1.8, 0, 0.3]], [[7, 0, 0], [1, 8, 0], [0, 0, 1]], [True, True, False])
    density = Density(structure, Multipoles(width=1.0), torch.tensor([[0.4], [-0.1]], dtype=D))
    density.write_cube(tmp_path / "slab.cube", spacing=0.25)
    with (tmp_path / "slab.cube").open() as file:
        cube = read_cube(file)
    box = cube["atoms"].cell.array * angstrom
    assert box[:2] == pytest.approx(structure.cell[0, :2].numpy(), abs=0.1)  # a multiple of the rounded steps
    total = cube["data"].sum() * abs(np.linalg.det(box)) / cube["data"].size
    assert total == pytest.approx(0.3, abs=1e-4)


def test_density_of_wide_gaussians_in_a_cell_is_a_sum_over_waves(monkeypatch):
    """As it is over images, of which there are thousands; with derivatives by places, cell, widths and coefficients."""
    generator = torch.Generator().manual_seed(0)
    numbers, places = [11, 17, 17], torch.tensor([[0.0, 0.1, 0.2], [3.1, 2.9, 0.3], [1.0, 4.0, 3.0]], dtype=torch.float64)
    cell = torch.tensor([[6.0, 0.0, 0.0], [1.0, 6.5, 0.0], [-0.7, 0.9, 7.0]], dtype=torch.float64)
    p = torch.randn(3, 9, generator=generator, dtype=torch.float64)
    points = 9 * torch.randn(4, 3, generator=generator, dtype=torch.float64)
    width = torch.tensor([3.5, 1.2, 0.8], dtype=torch.float64)

    def values(places, cell, width, p):
        structure = Structure(numbers, places, cell, True)
        return Density(structure, Multipoles(2, width=width).prepare(structure), p).values(points)

    inputs = [one.clone().requires_grad_() for one in (places, cell, width, p)]
    slopes = []
    by_waves = values(*inputs)
    slopes.append(torch.autograd.grad(by_waves.square().sum(), inputs))
    monkeypatch.setattr("cgdft.density.waves_within", lambda *_: math.inf)
    by_pairs = values(*inputs)
    slopes.append(torch.autograd.grad(by_pairs.square().sum(), inputs))
    assert float(by_pairs.detach().abs().max()) > 1e-3
    torch.testing.assert_close(by_waves, by_pairs, rtol=0, atol=1e-14)
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-13)


def test_loops_beside_a_matrix(monkeypatch):
    """Energies, forces, virials and their derivatives of a large open structure, as of explicit sums in torch."""
    structure = Structure([8] * 30, 9 * torch.rand(30, 3, generator=torch.Generator().manual_seed(1), dtype=D))
    basis, p = Multipoles(1, width=0.9), random_multipoles(Structure([8] * 30, structure.positions), 1)
    found = []
    for least in (1, math.inf):
        monkeypatch.setattr(hartree, "LOOPS", least)
        one = derivatives(structure, basis, p, Operator.DENSE)
        moved = structure.positions.clone().requires_grad_()
        functional = Hartree() + Electronegativity(torch.linspace(0.0, 0.3, 30)) + Hardness(0.3) + Hardness(0.5, l=1)
        forces = Model(functional, basis)(Structure(structure.numbers, moved)).forces()
        (second,) = torch.autograd.grad((forces**3).sum(), moved)
        found.append([*one[:2], forces.detach(), second])
    for one, two in zip(*found, strict=True):
        assert relative(one, two) < 1e-10
