"""Both meshes against the exact sums: the accuracy asked for is the accuracy got, for every boundary, width and l."""

import math

import numpy as np
import pytest
import torch
from ase.build import bulk
from scipy.interpolate import BSpline

from cgdft import Density, Fixed, Model, Multipoles, Structure
from cgdft.electrostatics import compiled, division
from cgdft.electrostatics.boundary import Box
from cgdft.electrostatics.compiled import CompiledCoulomb
from cgdft.electrostatics.compiled_mesh import CompiledMesh
from cgdft.electrostatics.coulomb import Coulomb, Sites
from cgdft.electrostatics.mesh import Mesh, mesh_shape
from cgdft.electrostatics.mesh_error import estimated_error
from cgdft.electrostatics.pairs import near_pairs
from cgdft.electrostatics.spline import splines
from cgdft.functionals import Electronegativity, Hardness, Hartree, Operator
from cgdft.solvers import CG

D = torch.float64


def relative(found, wanted):
    return float((found - wanted).detach().norm() / wanted.detach().norm())


def slopes(value, by):
    return torch.autograd.grad(value.sum(), by, retain_graph=True)


def box_of_sites(pbc, n=40):
    generator = torch.Generator().manual_seed(3)
    cell = torch.tensor([[12.0, 0, 0], [2.0, 11, 0], [-1.0, 1.5, 7]], dtype=D)
    fraction = torch.rand(n, 3, generator=generator, dtype=D)
    structure = Structure([8] * n, fraction @ cell, cell, pbc, charge=0.0)
    return structure, torch.randn(n, 9, generator=generator, dtype=D), 0.6 + torch.rand(n, generator=generator, dtype=D)


BOUNDARIES = {"bulk": [True] * 3, "slab": [True, False, True], "wire": [False, False, True], "open": [False] * 3}


CASES = [
    pytest.param(boundary, lmax, accuracy, marks=[] if accuracy == 1e-7 or lmax == 1 else [pytest.mark.slow])
    for boundary in BOUNDARIES
    for lmax in (0, 1, 2)
    for accuracy in (1e-4, 1e-7, 1e-10)
    if boundary != "wire" or (lmax, accuracy) in [(1, 1e-7), (2, 1e-4)]  # whose exact sums in a large box take long
]


@pytest.mark.parametrize(("boundary", "lmax", "accuracy"), CASES)
def test_accuracy_asked_is_accuracy_got(boundary, lmax, accuracy, monkeypatch):
    """Of the compiled mesh: potentials; forces and the virial within ten times of it, since they are derivatives."""
    if boundary == "open":
        for module in (compiled, division):  # as of many sites, which have a mesh
            monkeypatch.setattr(module, "cost_of_all_pairs", lambda n, lmax: n * n * math.inf)
    structure, p, width = box_of_sites(BOUNDARIES[boundary])
    p, width = p[:, : (lmax + 1) ** 2], width.round(decimals=1)
    at = structure.deformed(torch.zeros(40, 3, dtype=D).requires_grad_(), torch.zeros(1, 3, 3, dtype=D).requires_grad_())
    sites = Sites(at.positions, at.index, width, lmax)
    exact, operator = Coulomb(at, sites, accuracy=1e-13), CompiledCoulomb(at, sites, accuracy=accuracy)
    assert operator.plans[0].shape
    wanted, felt = exact.potential(p), operator.potential(p)
    assert relative(felt, wanted) < accuracy
    q = torch.randn(p.shape, generator=torch.Generator().manual_seed(5), dtype=D)
    a, b = (q * felt).sum().item(), (p * operator.potential(q)).sum().item()
    assert abs(a - b) < 1e-12 * (q * wanted).abs().sum().item()
    by = [at.positions] if boundary == "open" else [at.positions, at.cell]
    for value in (lambda one: one.energy(p), lambda one: one.bilinear(p, q)):
        for one, two in zip(slopes(value(operator), by), slopes(value(exact), by), strict=True):
            assert relative(one, two) < 10 * accuracy


@pytest.mark.parametrize("accuracy", [1e-3, 1e-8, 1e-11])
@pytest.mark.parametrize("widest", [1.2, 3.0])
@pytest.mark.parametrize(("shape", "most"), [((120, 1, 1), 2e6), ((30, 30, 0), 4e6), ((3, 3, 3), 4e6), ((0, 0, 0), 2e6)])
def test_open_structures_of_any_shape(shape, most, widest, accuracy, monkeypatch):
    """Chains, layers, balls and points, turned in space, have the accuracy asked for on meshes of their own shape."""
    for module in (compiled, division):
        monkeypatch.setattr(module, "cost_of_all_pairs", lambda n, lmax: n * n * math.inf)
    generator = torch.Generator().manual_seed(0)
    n = 40 if sum(shape) else 1
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=D)).Q
    at = torch.rand(n, 3, generator=generator, dtype=D) * torch.tensor(shape, dtype=D) @ turn
    structure = Structure([1] * n, at + 0.2 * torch.arange(n)[:, None] * turn[2])
    p = torch.randn(n, 9, generator=generator, dtype=D)
    sites = Sites(structure.positions, structure.index, torch.linspace(1.0, widest, n, dtype=D).round(decimals=1), 2)
    operator = CompiledCoulomb(structure, sites, accuracy=accuracy)
    assert relative(operator.potential(p), Coulomb(structure, sites).potential(p)) < accuracy
    assert math.prod(operator.plans[0].shape) < (most if widest < 2 else 8 * most)


@pytest.mark.parametrize("boundary", ["bulk", "slab"])
@pytest.mark.parametrize("lmax", [0, 1, 2])
def test_both_implementations_agree_to_rounding(boundary, lmax):
    """The same mesh in torch and in compiled loops, one and two threads, one and several widths."""
    structure, p, width = box_of_sites(BOUNDARIES[boundary])
    p = p[:, : (lmax + 1) ** 2]
    box = Box.around(structure.cell[0], structure.pbc[0], structure.positions, 20.0)
    for widths in (torch.full_like(width, 1.3), width.round(decimals=1)):
        arguments = (structure.positions, widths, lmax, box, [20, 40, 18], 8)
        mesh, compiled = Mesh(*arguments), CompiledMesh(*arguments)
        assert relative(torch.from_numpy(compiled.potential(p.numpy())), mesh.potential(p)) < 1e-13
        compiled.threads = 2
        assert relative(torch.from_numpy(compiled.potential(p.numpy())), mesh.potential(p)) < 1e-13


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_potential_and_field_at_points(boundary, monkeypatch):
    """By the mesh as by explicit sums: charged, several widths, points near atoms and far from them."""
    structure, p, width = box_of_sites(BOUNDARIES[boundary])
    density = Density(structure, Multipoles(2, width=width.round(decimals=1)), p)
    points = torch.cat([structure.positions + 0.3, 3.0 * structure.positions])
    exact = density.potential(points), density.field(points)
    monkeypatch.setattr("cgdft.density.WORK", (0, 0))
    assert relative(density.potential(points), exact[0]) < 1e-8
    assert relative(density.field(points), exact[1]) < 1e-7


@pytest.mark.parametrize("operator", [Operator.MESH, Operator.COMPILED])
@pytest.mark.parametrize("boundary", ["bulk", "slab"])
def test_where_the_origin_is_does_not_matter(boundary, operator):
    """Forces add up to zero, and the virial is the same far away along open axes."""
    structure, p, _ = box_of_sites(BOUNDARIES[boundary])
    chi = 0.1 * p[:, 0]
    model = Model(
        Hartree(operator=operator, accuracy=1e-6) + Electronegativity(chi) + Hardness(0.6, l=0), Multipoles(width=0.9)
    )
    here, there = (model(structure.holding(positions=structure.positions + shift)) for shift in (0.0, 1e5))
    assert float(here.forces().abs().max()) > 1e-3
    assert float(here.forces().sum(0).abs().max()) < 1e-14
    assert float((there.virial() - here.virial()).abs().max()) < 1e-5 * float(here.virial().abs().max())


def test_mesh_in_torch():
    """Accuracy, and the explicit gather against autograd."""
    for accuracy in (1e-4, 1e-8):
        for lmax in (0, 2):
            structure, p, width = box_of_sites([True, True, accuracy > 1e-6])
            p = p[:, : (lmax + 1) ** 2]
            sites = Sites(structure.positions, structure.index, width.round(decimals=1), lmax)
            wanted = Coulomb(structure, sites, accuracy=1e-13).potential(p)
            operator = Coulomb(structure, sites, accuracy=accuracy, mesh=True)
            derived = operator.potential(p)
            assert relative(derived, wanted) < accuracy
            with torch.no_grad():
                assert relative(operator.potential(p), derived) < 1e-13


@pytest.mark.parametrize("operator", [Operator.MESH, Operator.COMPILED])
def test_derivatives(operator):
    """Energy, forces and stress of a charged cell on the mesh are those of the exact sums; second derivatives too."""
    structure, p, _ = box_of_sites(True, n=12)
    density = Multipoles(2, width=0.9)

    def along(t, term):
        u = 0.1 * torch.sin(torch.arange(36, dtype=D)).reshape(12, 3)
        e = 0.02 * torch.tensor([[1.0, 0.4, 0.1], [0.4, -0.7, 0.3], [0.1, 0.3, 0.5]], dtype=D)[None]
        return term.energy(Density(structure.deformed(t * u, t * e), density, p[:12] * (1 + t))).sum()

    results = []
    for term in (Hartree(), Hartree(operator=operator, accuracy=1e-10)):
        t = torch.zeros((), dtype=D, requires_grad=True)
        value = along(t, term)
        (first,) = torch.autograd.grad(value, t, create_graph=True)
        (second,) = torch.autograd.grad(first, t)
        (plain,) = torch.autograd.grad(along(t, term), t)
        results.append([value.item(), first.item(), second.item(), plain.item()])
    assert results[1] == pytest.approx(results[0], rel=1e-8)
    assert abs(results[0][1]) > 1e-3


#: Highest l and order of spline, each compiled at its first use.
ORDERS = [
    pytest.param(lmax, order, marks=[] if (lmax, order) in [(0, 4), (1, 8), (2, 6)] else [pytest.mark.slow])
    for lmax in (0, 1, 2)
    for order in range(max(4, 3 + lmax), 11)
]


@pytest.mark.parametrize(("lmax", "order"), ORDERS)
def test_error_is_estimated_before(lmax, order):
    """Never by less than half the error, and never by more than six times of it."""
    structure, p, width = box_of_sites(True)
    p, width = p[:, : (lmax + 1) ** 2], torch.full_like(width, 1.0)
    box = Box.around(structure.cell[0], structure.pbc[0], structure.positions, 0.0)
    exact = CompiledMesh(structure.positions, width, lmax, box, [64, 64, 40], 12).potential(p.numpy())[:, lmax**2 :]
    shape = mesh_shape(box, 0.6)
    heights = 1 / torch.linalg.inv(box.cell).norm(dim=0)
    spacing = float((heights / torch.tensor(shape)).mean())
    found = CompiledMesh(structure.positions, width, lmax, box, shape, order).potential(p.numpy())[:, lmax**2 :]
    error = float(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    assert 0.5 < estimated_error(order, spacing, lmax) / error < 6


def test_float32_says_what_it_reaches():
    structure, p, width = box_of_sites(True)
    sites = Sites(structure.positions, structure.index, width.round(decimals=1), 1)
    exact = Coulomb(structure, sites).potential(p[:, :4])
    assert relative(CompiledCoulomb(structure, sites, accuracy=1e-5, dtype=np.float32).potential(p[:, :4]), exact) < 1e-5
    assert relative(Coulomb(structure, sites, accuracy=1e-5, mesh=True, dtype=torch.float32).potential(p[:, :4]), exact) < 1e-5
    for term in (Hartree(dtype=torch.float32), Hartree(dtype=torch.float32, operator=Operator.MESH)):
        density = Density(structure, Multipoles(1, width=1.0), p[:, :4])
        assert float(term.energy(density)) == pytest.approx(float(Hartree().energy(density)), rel=1e-5)
    for refused in (
        lambda: CompiledCoulomb(structure, sites, accuracy=1e-6, dtype=np.float32),
        lambda: Hartree(accuracy=1e-6, dtype=torch.float32),
    ):
        with pytest.raises(ValueError, match="`accuracy` must be at least 1e-5 in float32"):
            refused()
    with pytest.raises(ValueError, match="`operator` must be one with a mesh in float32"):
        Hartree(operator=Operator.DENSE, dtype=torch.float32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_on_a_gpu(dtype):
    """The torch path unchanged: charges and forces as on the processor."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (3, 3, 3)
    atoms.rattle(0.1, seed=1)
    structure = Structure.from_ase(atoms)
    there = Structure(structure.numbers.cuda(), structure.positions.cuda(), structure.cell.cuda(), structure.pbc.cuda())
    model = Model(
        Hartree(dtype=dtype) + Electronegativity({"Na": 0.1, "Cl": 0.31}) + Hardness({"Na": 0.17, "Cl": 0.36}),
        Multipoles(width=1.9),
        solver=CG(1e-6),
    )
    here, found = model(structure), model(there)
    assert relative(found.charges.cpu(), here.charges) < 1e-4
    assert relative(found.forces().cpu(), here.forces()) < 1e-3


def test_sums_that_do_not_fit_are_refused_before_the_work():
    n = 100_000
    line = torch.arange(n, dtype=D)[:, None] * torch.tensor([90.0, 2.9, 2.8], dtype=D)
    structure = Structure([8] * n, line, 9e6 * torch.eye(3), True)
    with pytest.raises(ValueError, match="100000 sites of width 0.1 bohr, which need some"):
        Hartree(operator=Operator.COMPILED).energy(Density(structure, Multipoles(2, width=0.1), torch.ones(n, 9, dtype=D)))


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 1, 0)], ids=["cell", "slab", "wire"])
def test_few_narrow_sites_in_much_space(pbc):
    """A mesh as fine as they are narrow would have 10^11 points; of smooth parts as wide as the space there are few."""
    rng = np.random.default_rng(0)
    positions = torch.tensor(rng.random((60, 3)) * [1200.0, 19.0, 1200.0], dtype=D)
    structure = Structure([11] * 60, positions, torch.diag(torch.tensor([1200.0, 19.0, 1200.0])), pbc)
    q = torch.tensor([1.0, -1.0] * 30, dtype=D)[:, None]
    rho = Density(structure, Multipoles(width=0.05), q)
    (plan,) = CompiledCoulomb(structure, rho.sites).plans
    assert math.prod(plan.shape) < 1e7
    exact = Hartree(operator=Operator.EWALD).energy(rho)
    torch.testing.assert_close(Hartree(operator=Operator.COMPILED).energy(rho), exact, rtol=1e-9, atol=0)
    points = torch.tensor(rng.random((3000, 3)) * 1200.0, dtype=D)
    torch.testing.assert_close(rho.potential(points)[:20], rho.potential(points[:20]), rtol=0, atol=1e-7)


def test_operators_are_named_and_refused():
    structure, p, width = box_of_sites(True)
    basis = Multipoles(width=torch.nn.Parameter(width))
    with pytest.raises(ValueError, match="`operator` must be one with derivatives by the widths"):
        Hartree(operator=Operator.COMPILED).energy(Density(structure, basis, p[:, :1]))


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


def test_splines_are_those_of_scipy_with_their_derivatives():
    x = torch.linspace(0, 0.99, 7, dtype=D).requires_grad_()
    values, slope, second = splines(x, 6, 2)
    known = BSpline.basis_element(np.arange(7))
    for i in range(6):
        at = x.detach().numpy() + 5 - i
        for d, found in enumerate((values, slope, second)):
            assert np.allclose(found[:, i].detach().numpy(), known.derivative(d)(at), atol=1e-13)
        (g,) = torch.autograd.grad(values[:, i].sum(), x, create_graph=True)
        (h,) = torch.autograd.grad(g.sum(), x)
        assert torch.allclose(g, slope[:, i])
        assert torch.allclose(h, second[:, i])


def test_mesh_of_a_thin_cell():
    structure, p, _ = box_of_sites(True)
    box = Box.around(structure.cell[0], structure.pbc[0], structure.positions, 0.0)
    shape = mesh_shape(box, 0.5)
    assert shape[2] < shape[0]
    mesh = Mesh(structure.positions, torch.full((40,), 1.0, dtype=D), 2, box, shape, 8)
    assert float(mesh.bilinear(p, p)) > 0


@pytest.mark.parametrize("operator", [Operator.COMPILED, Operator.MESH])
def test_multipoles_that_depend_on_positions(operator):
    """Forces and their derivatives by a weight, where charges are functions of positions: each path is counted once."""
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    atoms.rattle(0.2, seed=1)
    structure = Structure.from_ase(atoms)
    weight = torch.tensor(0.1, dtype=D, requires_grad=True)

    def charges(s):
        i, j, apart = near_pairs(s, 8.0)
        passed = weight * torch.exp(-(apart**2).sum(1) / 20) * (s.numbers[j] - 10)
        return s.positions.new_zeros(s.n_atoms).index_add(0, i, passed)[:, None]

    def forces(which):
        hartree = Hartree(operator=which)
        solution = Model(hartree, Multipoles(width=1.5), Fixed(charges), constraints=[])(structure)
        found = solution.forces()
        return found, solution.virial(), torch.autograd.grad(found.square().sum(), weight)[0]

    for found, exact in zip(forces(operator), forces(Operator.EWALD), strict=True):
        assert torch.allclose(found, exact, rtol=1e-6, atol=1e-8)


def test_forces_cost_no_derivative_by_the_cell_and_stress_no_second_pull(monkeypatch):
    counted = {"pull": 0, "by_cell": 0}
    for name in counted:
        inner = getattr(CompiledMesh, name)

        def counting(*args, name=name, inner=inner):
            counted[name] += 1
            return inner(*args)

        monkeypatch.setattr(CompiledMesh, name, counting)
    energy = Hartree(operator=Operator.COMPILED) + Electronegativity({"Na": 0.1, "Cl": 0.3}) + Hardness(0.4)
    solution = Model(energy, Multipoles(width=1.5), solver=CG())(
        Structure.from_ase(bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    )
    solution.forces()
    assert counted == {"pull": 1, "by_cell": 0}
    solution.stress()
    assert counted == {"pull": 1, "by_cell": 1}


@pytest.mark.parametrize("side", [16.0, 26.0])
def test_few_waves_are_all_summed(side):
    """In cells of so few widths that hardly any wave is one of those that the error of a mesh is relative to."""
    generator = torch.Generator().manual_seed(0)
    positions, q = side * torch.rand(125, 3, generator=generator, dtype=D), torch.randn(125, 1, generator=generator, dtype=D)
    structure = Structure([8] * 125, positions, side * torch.eye(3, dtype=D), True)
    q = q - q.mean()

    def solved(operator=None):
        return Model(Hartree(operator=operator), Multipoles(width=5.0), Fixed(q))(structure)

    found, exact = solved(), solved(Operator.DENSE)
    assert relative(found.energy, exact.energy) < 1e-8
    assert relative(found.forces(), exact.forces()) < 1e-7


def test_a_batch_prints_its_largest_error():
    salt = bulk("NaCl", "rocksalt", 5.64, cubic=True).repeat(3)
    salt.rattle(0.1, seed=0)
    wide = salt.copy()
    wide.set_cell(4 * salt.cell.array, scale_atoms=False)
    basis = Multipoles(width=1.0)
    alone, batch = (
        Hartree(operator=Operator.COMPILED).prepare(one, basis).evaluation.rpartition(" ")[2]
        for one in (Structure.from_ase(salt), Structure.batch([Structure.from_ase(one) for one in (wide, salt)]))
    )
    assert float(batch) >= float(alone)


def test_meshes_of_many_widths_are_refused_before_the_work():
    n = 2500
    generator = torch.Generator().manual_seed(0)
    structure = Structure([8] * n, 60 * torch.rand(n, 3, generator=generator, dtype=D), 60 * torch.eye(3, dtype=D), True)
    widths = 0.6 + torch.rand(n, generator=generator, dtype=D)
    with pytest.raises(ValueError, match="sums over points of a mesh for each width fit into memory, got .* 2500 sites"):
        Hartree(operator=Operator.MESH).prepare(structure, Multipoles(width=widths))
