"""The mesh against the exact sums: the accuracy asked for is the accuracy got, for every boundary, width and l."""

import pytest
import torch
from ase.build import bulk

from cgdft import Density, Model, Multipoles, Structure
from cgdft.electrostatics import coulomb
from cgdft.electrostatics.boundary import Box
from cgdft.electrostatics.coulomb import Coulomb, Sites
from cgdft.electrostatics.mesh import Mesh, mesh_shape, spline, spline_derivatives
from cgdft.functionals import Electronegativity, Hardness, Hartree
from cgdft.solvers import CG

D = torch.float64


def box_of_sites(pbc, n=40):
    generator = torch.Generator().manual_seed(3)
    cell = torch.tensor([[12.0, 0, 0], [2.0, 11, 0], [-1.0, 1.5, 7]], dtype=D)
    fraction = torch.rand(n, 3, generator=generator, dtype=D)
    structure = Structure([8] * n, fraction @ cell, cell, pbc, charge=0.0)
    return structure, torch.randn(n, 9, generator=generator, dtype=D), 0.6 + torch.rand(n, generator=generator, dtype=D)


@pytest.mark.parametrize("pbc", [[True] * 3, [True, False, True], [False, False, True]], ids=["bulk", "slab", "wire"])
@pytest.mark.parametrize("lmax", [0, 1, 2])
@pytest.mark.parametrize("accuracy", [1e-4, 1e-7, 1e-10])
def test_accuracy_asked_is_accuracy_got(pbc, lmax, accuracy, monkeypatch):
    if pbc == [False, False, True] and (lmax, accuracy) not in [(1, 1e-7), (2, 1e-4)]:
        return  # the box of a wire is large, and what is tested is the same
    structure, p, width = box_of_sites(pbc)
    p, width = p[:, : (lmax + 1) ** 2], width.round(decimals=1)
    sites = Sites(structure.positions, structure.index, width, lmax)
    exact = Coulomb(structure, sites, accuracy=1e-13).potential(p)
    monkeypatch.setattr(coulomb, "MESH_FROM", 1)
    operator = Coulomb(structure, sites, accuracy=accuracy)
    assert operator.waves[0].mesh is not None
    error = float((operator.potential(p) - exact).norm() / exact.norm())
    assert error < accuracy
    with torch.no_grad():  # gathered instead of derived
        gathered = operator.potential(p)
    assert float((gathered - operator.potential(p)).norm() / exact.norm()) < 1e-13
    q = torch.randn(p.shape, generator=torch.Generator().manual_seed(5), dtype=D)
    a, b = (q * operator.potential(p)).sum(), (p * operator.potential(q)).sum()
    assert abs(float(a - b)) < 1e-12 * float((q * exact).abs().sum())


def test_derivatives(monkeypatch):
    """Energy, forces and stress of a charged cell on the mesh are those of the exact sums; second derivatives too."""
    structure, p, _ = box_of_sites(True, n=12)
    density = Multipoles(2, width=0.9)

    def along(t):
        u = 0.1 * torch.sin(torch.arange(36, dtype=D)).reshape(12, 3)
        e = 0.02 * torch.tensor([[1.0, 0.4, 0.1], [0.4, -0.7, 0.3], [0.1, 0.3, 0.5]], dtype=D)[None]
        return Hartree().energy(Density(structure.deformed(t * u, t * e), density, p[:12])).sum()

    results = []
    for start in (10**9, 1):
        monkeypatch.setattr(coulomb, "MESH_FROM", start)
        t = torch.zeros((), dtype=D, requires_grad=True)
        value = along(t)
        (first,) = torch.autograd.grad(value, t, create_graph=True)
        (second,) = torch.autograd.grad(first, t)
        results.append([float(value.detach()), float(first.detach()), float(second)])
    assert results[1] == pytest.approx(results[0], rel=1e-9)
    assert abs(results[0][1]) > 1e-3


def test_large_cell_is_solved_on_the_mesh():
    """648 atoms: charges and forces as by the matrix of the exact sums."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (3, 3, 3)
    atoms.rattle(0.1, seed=1)
    structure = Structure.from_ase(atoms)
    model = Model(
        Hartree(accuracy=1e-10) + Electronegativity({"Na": 0.1, "Cl": 0.31}) + Hardness({"Na": 0.17, "Cl": 0.36}),
        Multipoles(width={"Na": 1.9, "Cl": 1.5}),
    )
    solution, other = model(structure), model.replace(solver=CG(tolerance=1e-11))(structure)
    assert float((solution.charges - other.charges).abs().max()) < 1e-9
    forces = solution.forces()
    assert float(forces.sum(0).abs().max()) < 1e-8
    h, u = 1e-3, torch.zeros_like(structure.positions)
    u[17, 1] = h
    zero = torch.zeros(1, 3, 3, dtype=D)
    up, down = (float(model(structure.deformed(s * u, zero)).energy) for s in (1.0, -1.0))
    assert (down - up) / (2 * h) == pytest.approx(float(forces[17, 1]), abs=1e-7)


def test_spline():
    x = torch.linspace(0, 0.99, 7, dtype=D).requires_grad_()
    values = spline(x, 6)
    assert torch.allclose(values.sum(-1), torch.ones(7, dtype=D))  # a partition of one
    slope, second = spline_derivatives(x, 6, 2)[1:]
    for j in range(6):
        (g,) = torch.autograd.grad(spline(x, 6)[:, j].sum(), x, create_graph=True)
        assert torch.allclose(g, slope[:, j])
        (h,) = torch.autograd.grad(g.sum(), x)
        assert torch.allclose(h, second[:, j])


def test_mesh_of_a_thin_cell():
    structure, p, _ = box_of_sites(True)
    box = Box.around(structure.cell[0], structure.pbc[0], structure.positions, 0.0)
    shape = mesh_shape(box, 0.5)
    assert shape[2] < shape[0]
    mesh = Mesh(structure.positions, torch.full((40,), 1.0, dtype=D), 2, box, shape, 8)
    assert float(mesh.bilinear(p, p)) > 0
