"""Iterations do not grow with the system, whatever ansatz and constraints, and the answer is that of the matrix."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule, nanotube
from scipy import fft

from cgdft import (
    FragmentCharge,
    Free,
    Functional,
    Model,
    Multipoles,
    ResponseModes,
    SolverError,
    SplitCharges,
    Structure,
    TotalCharge,
)
from cgdft.functionals import EEQ, Anharmonic, Electronegativity, Hardness, Hartree, Operator, QEq
from cgdft.solvers import CG, Direct, Newton, cg, coarse_mesh, long_waves
from cgdft.solvers.screening import Even, Layers, Screening, screening
from cgdft.units import angstrom, eV
from cgdft.validation.speed import qeq, systems

D = torch.float64


def structure_of(system):
    cell = torch.diag(torch.tensor(system.box)) * angstrom
    return Structure(torch.tensor(system.numbers), torch.tensor(system.positions) * angstrom, cell, system.pbc)


def functional_of(system, **hartree):
    chi, hardness = (torch.tensor(qeq.per_atom(table, system)) * eV for table in (qeq.CHI, qeq.HARDNESS))
    return Hartree(**hartree) + Electronegativity(chi) + Hardness(hardness)


def model_of(system, solver, **hartree):
    return Model(functional_of(system, **hartree), Multipoles(width=1.0 * angstrom), solver=solver)


@pytest.mark.parametrize("approximate", [False, True])
@pytest.mark.parametrize(
    ("make", "sizes", "most"),
    [
        (systems.salt, (2, 3, 5), 9),
        (systems.water, (3, 5, 8), 9),
        (systems.wide_slab, (1, 3, 6), 14),
        (systems.thick_slab, (1, 5, 14), 14),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_iterations_do_not_grow(make, sizes, most, approximate):
    """To a relative residual of 1e-8; Jacobi's preconditioner needs 12 to 36 for the salt and 23 to 64 for slabs."""
    for size in sizes:
        system = make(size)
        solution = model_of(system, CG(1e-8, approximate=approximate), operator=Operator.COMPILED)(structure_of(system))
        assert float(solution.history[-1] / solution.history[0]) < 1e-8
        assert solution.iterations <= most


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "size"),
    [(systems.salt, 24), (systems.water, 32), (systems.wide_slab, 60), (lambda n: systems.slab(n, 60, 120), 12)],
)
def test_iterations_of_large_systems(make, size):
    system = make(size)
    assert len(system) > 80_000
    solution = model_of(system, CG(1e-8))(structure_of(system))
    assert solution.iterations <= 14


@pytest.mark.parametrize("make", [systems.salt, systems.thick_slab])
def test_refined_by_the_right_operator(make):
    """What the rough iterations leave behind is gone: charges, forces and potential are those of the matrix."""
    system = make(3)
    structure = structure_of(system)
    exact = model_of(system, Direct(), operator=Operator.DENSE)(structure)
    found = model_of(system, CG(1e-10), operator=Operator.COMPILED, accuracy=1e-10)(structure)
    assert float((found.charges - exact.charges).abs().max()) < 1e-8
    assert float((found.forces() - exact.forces()).abs().max()) < 1e-8
    assert float(found.chemical_potential) == pytest.approx(float(exact.chemical_potential), abs=1e-8)


class Misjudged(Hardness):
    """A hardness whose approximation is a third of it."""

    def approximate(self):
        return Hardness(0.13)


def test_rough_terms_that_are_too_rough_do_not_spoil_the_answer(monkeypatch):
    given_up, refined = [], cg.refined
    monkeypatch.setattr(cg, "refined", lambda *given: (given_up.append(found := refined(*given)), found)[1])
    structure = structure_of(systems.salt(2))
    functional = Hartree() + Electronegativity({"Na": 0.1, "Cl": 0.3})
    right = Model(functional + Hardness(0.4), Multipoles(width=1.9), solver=Direct())(structure)
    model = Model(functional + Misjudged(0.4), Multipoles(width=1.9), solver=CG(1e-10))
    assert model.problem(structure).approximate() is not None
    assert float((model(structure).charges - right.charges).abs().max()) < 1e-9
    assert not given_up[0].converged


def water():
    system = systems.water(3)
    return system, structure_of(system)


ANSATZES = {
    "free": Free(),
    "split charges": SplitCharges(hardness=0.2),
    "response modes": ResponseModes(lambda s: 0.5 * torch.eye(4 * s.n_atoms, dtype=D)[:, : 4 * s.n_atoms - 8]),
}
CONSTRAINTS = {
    "total": [TotalCharge(1.0)],
    "two fragments": [FragmentCharge(range(30), charge=0.5), FragmentCharge(range(30, 81), charge=-0.5)],
    "one potential": [FragmentCharge(range(30), potential=-0.1), FragmentCharge(range(30, 81), charge=0.0)],
    "every molecule": [FragmentCharge([3 * k, 3 * k + 1, 3 * k + 2], charge=0.1 * (k % 3 - 1)) for k in range(27)],
    "some molecules": [*(FragmentCharge([3 * k, 3 * k + 1, 3 * k + 2], charge=0.1) for k in range(9)), TotalCharge(1.0)],
    "none": [],
}
#: Molecules of split charges keep their charges by construction.
CASES = [(ansatz, constraints) for ansatz in ("free", "response modes") for constraints in CONSTRAINTS]


@pytest.mark.parametrize(("ansatz", "constraints"), [*CASES, ("split charges", "none")])
def test_every_ansatz_and_constraint(ansatz, constraints):
    system, structure = water()
    functional = functional_of(system) + Hardness(0.3, l=1)
    model = Model(functional, Multipoles(1, width=0.7 * angstrom), ANSATZES[ansatz], CONSTRAINTS[constraints])
    exact = model.replace(solver=Direct())(structure)
    solver = CG(1e-11)
    found = model.replace(solver=solver)(structure)
    assert found.iterations < 60
    assert float((found.coefficients - exact.coefficients).abs().max()) < 1e-8
    with torch.no_grad():
        problem = model.problem(structure)
        apply = long_waves.precondition(problem, exact.minimum.x)
        r = problem.rows.project(torch.randn(2, len(problem.index), generator=torch.Generator().manual_seed(0), dtype=D)[0])
        z = apply(r)
        assert float(r @ z) > 0
        assert float(problem.rows.coordinates(z).abs().sum()) < 1e-6 * float(z.abs().max())


@pytest.mark.parametrize("make", [systems.water, systems.thick_slab])
@pytest.mark.parametrize(("ansatz", "constraints"), [*CASES, ("split charges", "none")])
def test_as_a_matrix(make, ansatz, constraints, monkeypatch):
    """The same preconditioner, once the screened equation is solved to the end; 81 atoms of water, or as many of a slab."""
    system = make(3)
    structure = structure_of(system)
    if make is systems.thick_slab:
        structure = Structure(structure.numbers[:81], structure.positions[:81], structure.cell[0], structure.pbc[0])
    functional = Hartree(operator=Operator.COMPILED) + Hardness(0.3) + Hardness(0.3, l=1)
    model = Model(functional, Multipoles(1, width=0.7 * angstrom), ANSATZES[ansatz], CONSTRAINTS[constraints])
    monkeypatch.setattr(long_waves, "RESIDUAL", 1e-6)
    monkeypatch.setattr(long_waves.LongWaves, "_cost_of_matrix", lambda self: 0.0)
    with torch.no_grad():
        problem = model.problem(structure)
        r = problem.rows.project(torch.randn(len(problem.index), generator=torch.Generator().manual_seed(0), dtype=D))
        apply = long_waves.precondition(problem, torch.zeros_like(r))
        first, second = apply(r), apply(r)
    assert 0 < float((first - second).norm()) < 1e-4 * float(first.norm())


def factorised(structure, functional, start=None, tolerance=1e-8):
    """How many structures' preconditioners are a matrix."""
    solution = Model(functional, Multipoles(width=1.0 * angstrom), solver=CG(tolerance))(structure, start)
    coupling = solution.problem.cached("long waves", None).coupling
    return solution, 0 if coupling is None else len(coupling)


def test_which_are_factorised():
    """Slabs of some hundred unknowns, where iterations are many; not where the start is near, nor where most is padding."""
    rock_salt, slab, tall = (make(n) for make, n in ((systems.salt, 3), (systems.thick_slab, 3), (systems.thick_slab, 14)))
    for system, many in ((rock_salt, 0), (slab, 1), (tall, 0)):
        assert factorised(structure_of(system), functional_of(system, operator=Operator.COMPILED))[1] == many
    local = (
        Hartree(operator=Operator.COMPILED) + Electronegativity({"H": 0.1, "C": 0.2, "O": 0.25, "Au": 0.15}) + Hardness(0.02)
    )
    atoms, benzene = structure_of(slab), Structure.from_ase(molecule("C6H6"))
    both, many = factorised(Structure.batch([atoms, atoms]), local)
    assert many == 2
    assert factorised(Structure.batch([atoms, atoms]), local, both, 1e-7)[1] == 0
    assert factorised(Structure.batch([atoms, *400 * [benzene]]), local)[1] == 0


def test_members_that_move_no_charge_have_no_part_in_the_matrix(monkeypatch):
    monkeypatch.setattr(long_waves.LongWaves, "_cost_of_matrix", lambda self: 0.0)
    argon = Structure([18] * 18, 9.0 * torch.cartesian_prod(*[torch.arange(k, dtype=D) for k in (3, 3, 2)]))
    alone = structure_of(systems.water(3))
    model = Model(
        Hartree(operator=Operator.COMPILED) + Electronegativity({"O": 0.3, "H": 0.1, "Ar": 0.2}),
        Multipoles(width=1.0),
        SplitCharges(hardness=0.2),
        constraints=[],
        solver=CG(1e-10),
    )
    together = model(Structure.batch([alone, argon]))
    assert torch.allclose(together.charges[: alone.n_atoms], model(alone).charges, atol=1e-8)


@pytest.mark.parametrize(("make", "size", "most"), [(systems.wide_slab, 6, 190), (systems.thick_slab, 8, 230)])
def test_layers_screen_slabs_first(make, size, most, monkeypatch):
    """The mean of the whole box takes 360 and 390 iterations of the screened Poisson equation."""
    found, felt = [], Screening.felt
    monkeypatch.setattr(Screening, "felt", lambda *given: (found.append(1), felt(*given))[1])
    system = make(size)
    model_of(system, CG(1e-8), operator=Operator.COMPILED)(structure_of(system))
    assert len(found) < most


def inverse_square(to_k, shape):
    """1 / (0.1 + k^2) of the half of waves that a real transform keeps, with reciprocal vectors as rows."""
    whole = np.stack(np.meshgrid(*[np.fft.fftfreq(n, 1 / n) for n in shape], indexing="ij"), -1)[..., : shape[2] // 2 + 1, :]
    return 1 / (0.1 + ((whole @ to_k) ** 2).sum(-1))


SKEWED = np.array([[1.0, 0.1, 0.2], [0.0, 2.0, -0.5], [0.0, 0.3, 3.0]])


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("shape", [(4, 5, 6), (6, 4, 5)])
def test_layers(axis, shape):
    """(K^-1 + s)^-1 is that of the matrices, and the norm of K r that of its values, in a skewed cell as well."""
    random, kernel, n = np.random.default_rng(0), inverse_square(SKEWED, shape), math.prod(shape)
    profile = random.random(shape[axis]) ** 4
    profile[1] = 0.0
    softness = np.broadcast_to(profile.reshape([-1 if a == axis else 1 for a in range(3)]), shape)
    layers = Layers(kernel, shape, profile, axis, np.flatnonzero(profile))
    r = random.standard_normal(shape)
    matrix = np.stack([fft.irfftn(kernel * fft.rfftn(one), s=shape).ravel() for one in np.eye(n).reshape(n, *shape)])
    felt = matrix @ r.ravel()
    expected = np.linalg.solve(np.eye(n) + matrix * softness.ravel(), felt).reshape(shape)
    waves = layers.waves(r.astype(np.float32))
    assert layers.felt(waves) == pytest.approx(float(felt @ felt), rel=1e-5)
    assert np.abs(layers(waves) - expected).max() < 1e-5 * np.abs(expected).max()
    assert (layers.softness == softness.astype(np.float32)).all()
    even = Even(kernel, shape, 0.02)
    same = Layers(kernel, shape, np.full(shape[axis], 0.02), axis, np.arange(shape[axis]))
    assert np.abs(even(even.waves(r)) - same(same.waves(r))).max() < 1e-5 * np.abs(r).max()


@pytest.mark.parametrize("pbc", ["TTT", "TTF", "FTT"])
@pytest.mark.parametrize("skew", [0.0, 0.4])
def test_particles_in_much_vacuum(pbc, skew):
    """As a small cell has them, though the large one cuts through the particle; what is spread out does without."""
    atoms, model, taken = molecule("H2O", cell=[3.1] * 3) * (4, 4, 4), EEQ(), []
    atoms.pbc = [axis == "T" for axis in pbc]
    for length in (20.0, 150.0, 1500.0):
        atoms.set_cell(length * np.array([[1, 0, 0], [skew, 1, 0], [-skew, skew, 1]]))
        atoms.wrap()
        taken.append(model.replace(solver=CG(1e-8))(Structure.from_ase(atoms)).iterations)
    assert max(taken) <= taken[0] + 5
    atoms.positions *= 40
    with torch.no_grad():
        assert not coarse_mesh.coarse_meshes(model.problem(Structure.from_ase(atoms)))


def test_only_slabs_have_layers():
    slab, rod, full = np.zeros((8, 8, 8)), np.zeros((8, 8, 8)), np.ones((8, 8, 8))
    slab[:, 2:6], rod[:, 2:6, 2:6] = 1.0, 1.0

    def found(softness):
        kernel = inverse_square(np.eye(3), softness.shape)
        mesh = SimpleNamespace(spread=lambda _: softness, shape=softness.shape, points=softness.size, kernel=kernel)
        return screening(mesh, np.ones(4))

    layers = found(slab)
    assert isinstance(layers, Layers)
    assert layers.axis == 1
    assert layers.soft.tolist() == [2, 3, 4, 5]
    assert layers.softness.ravel().tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    for softness in (rod, full, 0 * full):
        assert isinstance(found(softness), Even)


def test_newton():
    """A functional that is not quadratic, on the mesh: a few steps of a few iterations."""
    system = systems.salt(4)
    structure = structure_of(system)
    functional = functional_of(system, accuracy=1e-10) + Anharmonic(0.05)
    found = Model(functional, Multipoles(width=1.0 * angstrom))(structure)
    assert isinstance(found.solver, Newton)
    assert found.iterations < 12
    other = Model(functional, Multipoles(width=1.0 * angstrom), solver=Newton(1e-10))(structure, start=found)
    assert float((found.charges - other.charges).abs().max()) < 1e-9


def test_batch_of_large_and_small():
    """Members converge as they do alone."""
    parts = [structure_of(systems.salt(3)), structure_of(systems.salt(2)), structure_of(systems.salt(1))]
    model = Model(
        Hartree(operator=Operator.COMPILED, accuracy=1e-10)
        + Electronegativity({"Na": 0.1, "Cl": 0.3})
        + Hardness({"Na": 0.2, "Cl": 0.35}),
        Multipoles(width=1.9),
        solver=CG(1e-10),
    )
    together = model(Structure.batch(parts))
    alone = torch.cat([model(part).charges for part in parts])
    assert float((together.charges - alone).abs().max()) < 1e-8
    assert torch.allclose(together.forces(), torch.cat([model(part).forces() for part in parts]), atol=1e-8)


@pytest.mark.parametrize("other", [1e-4, 1e4], ids=["less", "more"])
def test_members_of_a_batch_are_preconditioned_by_themselves(other):
    """Beside one whose residual is 10^4 times as large or small, or that has no minimum, as many iterations as alone."""
    water, salt = structure_of(systems.water(4)), structure_of(systems.salt(3))
    terms = Electronegativity({"O": 0.3 * other, "H": 0.1 * other, "Na": 0.1, "Cl": 0.3}) + Hardness(0.2)
    model = Model(Hartree(operator=Operator.COMPILED) + terms, Multipoles(width=1.9), solver=CG(1e-8, approximate=False))
    alone = [model(one).iterations for one in (water, salt)]
    assert model(Structure.batch([water, salt])).iterations <= max(alone) + 2
    without = Hartree(self_interaction=False, operator=Operator.COMPILED) + Hardness(
        {"O": 0.9, "H": 0.9, "Na": 0.01, "Cl": 0.01}
    )
    unbounded = model.replace(functional=without + Electronegativity({"O": 0.3, "H": 0.1, "Na": 0.1, "Cl": 0.3}))
    found = unbounded(Structure.batch([water, salt]), throw=False)
    assert [status.name for status in found.status] == ["CONVERGED", "UNBOUNDED"]
    assert found.iterations <= unbounded(water).iterations + 2


@pytest.mark.parametrize("name", ["wire", "ribbon", "rod", "long rod", "long wire"])
def test_iterations_in_much_empty_space(name):
    """Across a wide wire and along rods; boxes of the first for exact sums, and of the last without, are nearly empty."""
    shape, pbc, most = {
        "wire": ((1, 40, 1), "TFF", 40),
        "ribbon": ((1, 24, 24), "TFF", 40),
        "rod": ((60, 2, 2), "FFF", 25),
        "long rod": ((300, 1, 1), "FFF", 25),
        "long wire": ((1, 1, 300), "FFT", 25),
    }[name]
    atoms = molecule("H2O")
    atoms.set_cell([3.1, 3.1, 3.1])
    atoms = atoms.repeat(shape)
    atoms.rattle(0.1, seed=0)
    atoms.pbc = [axis == "T" for axis in pbc]
    model = QEq()
    functional = Hartree(self_interaction=False, operator=Operator.COMPILED) + Functional(list(model.functional)[1:])
    solution = model.replace(functional=functional, solver=CG(1e-8))(Structure.from_ase(atoms))
    assert solution.iterations <= most


def test_convexity_is_seen_where_the_local_part_outweighs():
    atoms = structure_of(systems.salt(2))
    hydrogen = Structure([1, 1], [[0, 0, 0], [1.4, 0, 0]])
    with torch.no_grad():
        for structure, convex in ((atoms, True), (hydrogen, False)):
            problem = QEq().problem(structure)
            assert problem.convex(torch.zeros(len(problem.index), dtype=D)).tolist() == [convex]


def test_meshes_are_made_once(monkeypatch):
    made = []
    init = coarse_mesh.CoarseMesh.__init__
    monkeypatch.setattr(coarse_mesh.CoarseMesh, "__init__", lambda *args: (made.append(1), init(*args))[1])
    system, structure = water()
    functional = functional_of(system) + Hardness(0.3, l=1) + Anharmonic(0.0, 0.5)
    solution = Model(functional, Multipoles(1, width=0.7 * angstrom), solver=Newton())(structure)
    assert solution.iterations > 1
    assert len(made) == 1


@pytest.mark.parametrize("name", ["tube", "chiral tube", "silicon", "box of N2"])
def test_what_symmetry_leaves_without_charge(name):
    """Slopes are the same on all atoms; what a projection leaves of them is rounding, and no negative curvature."""
    box = molecule("N2", cell=[4.5] * 3, pbc=True)
    made = {
        "tube": lambda: nanotube(6, 0, length=9),
        "chiral tube": lambda: nanotube(5, 2, length=6),
        "silicon": lambda: bulk("Si") * (5, 5, 5),
        "box of N2": lambda: box * (5, 5, 5),
    }
    structure = Structure.from_ase(made[name]())
    for model in (EEQ(), QEq()) if name in ("silicon", "box of N2") else (EEQ(),):
        solution = model(structure)
        assert isinstance(solution.solver, CG)
        assert float(solution.charges.abs().max()) < 1e-9
    held = Structure.from_ase(molecule("H2", cell=[4.5] * 3, pbc=True) * (5, 5, 5))
    with pytest.raises(SolverError, match="has no minimum"):
        QEq()(held)


def test_batches_of_very_different_sizes_are_not_padded():
    """A matrix for each, as large as that of the largest, would be 0.4 GB for 5000 numbers that are needed."""
    small, large = (
        Structure.from_ase(molecule("H2O")),
        Structure.from_ase(molecule("H2O", cell=[4.0] * 3, pbc=True) * (6, 6, 5)),
    )
    large = Structure(large.numbers, large.positions)
    both = Structure.batch([small] * 60 + [large])
    solution = EEQ()(both)
    assert isinstance(solution.solver, CG)
    assert torch.allclose(solution.charges[:3], EEQ()(small).charges, atol=1e-8)
    assert torch.allclose(solution.charges[-large.n_atoms :], EEQ()(large).charges, atol=1e-8)
