"""Derivatives of the minimum: first and second, for every solver and boundary, by gradcheck, gradgradcheck and differences."""

import every_solver
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import cgdft
from cgdft import FragmentCharge, Model, Multipoles, ResponseModes, SplitCharges, Structure, TotalCharge
from cgdft.functionals import (
    Anharmonic,
    Electronegativity,
    Hardness,
    Hartree,
    LatentCharges,
    Pairwise,
    PointCharges,
    QEq,
    QEqDipoles,
    UniformField,
)
from cgdft.solvers import Direct

SOLVERS = {name: solver for name, solver in every_solver.SOLVERS.items() if name not in every_solver.SLOW}
QUADRATIC = (
    Hartree()
    + Electronegativity({"H": 0.17, "O": 0.32, "Na": 0.1, "Cl": 0.31})
    + Hardness(0.4)
    + Hardness(0.3, l=1)
    + Pairwise(10.0, 0.5, cutoff=7.0)
)
BOUNDARIES = {
    "open": Structure([8, 1, 1], [[0.0, 0.1, 0.2], [1.5, 0.2, -1.1], [-1.4, 0.3, -1.2]], charge=0.3),
    "cell": Structure(
        [11, 17, 8],
        [[0.0, 0.1, 0.2], [3.1, 2.9, 0.3], [1.0, 4.0, 3.0]],
        [[6.0, 0.0, 0.0], [1.0, 6.5, 0.0], [-0.7, 0.9, 7.0]],
        True,
        charge=0.2,
    ),
    "slab": Structure(
        [11, 17, 8],
        [[0.0, 0.1, 0.2], [3.1, 2.9, 0.3], [1.0, 4.0, 3.0]],
        [[6.0, 0.0, 0.0], [1.0, 6.5, 0.0], [-0.7, 0.9, 17.0]],
        [True, True, False],
        charge=0.2,
    ),
}


def model_of(functional, solver):
    return Model(functional, Multipoles(1, width={"H": 0.9, "O": 1.1, "Na": 1.7, "Cl": 1.5}), solver=solver)


TERMS = {
    "quadratic": QUADRATIC,
    "without self-interaction": Hartree(self_interaction=False) + Hardness(0.8) + Hardness(0.9, l=1),
    "anharmonic": QUADRATIC + Anharmonic(cubic=0.2, quartic=0.5),
    "point charges": QUADRATIC + PointCharges([[0.5, 3.0, -3.5]], [0.7], width=0.5),
    "field": QUADRATIC + UniformField((0.01, 0.02, -0.01)),
    "quadrupoles": QUADRATIC + Hardness(0.2, l=2),
}


def observables(functional, solver, start):
    """One smooth function of positions, strain, electronegativities and widths that sees every part of a solution."""
    lmax = 2 if any(getattr(term, "l", 0) == 2 for term in functional) else 1
    generator = torch.Generator().manual_seed(4)
    weight = torch.randn(start.n_atoms, (lmax + 1) ** 2, generator=generator, dtype=torch.float64)

    def value(positions, strain, chi, width):
        structure = start.deformed(positions - start.positions, strain)
        model = Model(functional + Electronegativity(chi), Multipoles(lmax, width=width), solver=solver)
        solution = model(structure)
        mixed = (weight * solution.coefficients).sum() + 0.7 * solution.chemical_potential.sum()
        return solution.energy.sum(), mixed, 10 * solution.forces()[0, 1]

    inputs = (
        start.positions.clone(),
        torch.zeros(1, 3, 3, dtype=torch.float64),
        torch.tensor([0.02, -0.03, 0.05], dtype=torch.float64),
        torch.tensor([1.1, 0.9, 1.3], dtype=torch.float64),
    )
    return value, inputs


#: With every solver.
QUICK = ("quadratic", "anharmonic")
LINES = [
    pytest.param(solver, kind, where, marks=[] if solver == "Newton" or kind in QUICK else [pytest.mark.slow])
    for solver in SOLVERS
    for kind in TERMS
    for where in BOUNDARIES
    if not (kind == "anharmonic" and solver in ("Direct", "CG")) and not (kind == "field" and where != "open")
]


@pytest.mark.parametrize(("solver", "kind", "where"), LINES)
def test_first_and_second_derivatives(solver, kind, where):
    """Along a random line through positions, cell and parameters: autograd against differences, to second order."""
    value, inputs = observables(TERMS[kind], SOLVERS[solver], BOUNDARIES[where])
    generator = torch.Generator().manual_seed(5)
    line = [scale * torch.randn(x.shape, generator=generator, dtype=torch.float64)
            for x, scale in zip(inputs, (0.3, 0.05, 0.1, 0.1), strict=True)]  # fmt: skip

    def along(t):
        return value(*[x + t * d for x, d in zip(inputs, line, strict=True)])

    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    h = 2e-3
    with torch.no_grad():
        samples = [along(torch.tensor(k * h, dtype=torch.float64)) for k in (-2, -1, 0, 1, 2)]
    for k, exact in enumerate(along(t)):
        e = [float(sample[k]) for sample in samples]
        (first,) = torch.autograd.grad(exact, t, create_graph=True)
        assert abs(float(first.detach()) - (e[0] - 8 * e[1] + 8 * e[3] - e[4]) / (12 * h)) < 1e-7
        assert abs(float(first.detach())) > 1e-4
        if k < 2:  # forces are a first derivative already
            (second,) = torch.autograd.grad(first, t, retain_graph=True)
            assert abs(float(second) - (-e[0] + 16 * e[1] - 30 * e[2] + 16 * e[3] - e[4]) / (12 * h**2)) < 2e-6


@pytest.mark.parametrize("where", ["open", "cell", pytest.param("slab", marks=pytest.mark.slow)])
def test_gradcheck(where):
    value, inputs = observables(QUADRATIC, Direct(), BOUNDARIES[where])
    inputs = tuple(x.requires_grad_() for x in inputs)
    assert gradcheck(value, inputs, fast_mode=True, atol=1e-6)
    assert gradgradcheck(lambda *args: value(*args)[:2], inputs, fast_mode=True, atol=1e-6)


@pytest.mark.parametrize("where", BOUNDARIES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_forces_and_stress_are_differences_of_the_energy(solver, where):
    model = model_of(QUADRATIC, SOLVERS[solver])
    start = BOUNDARIES[where]
    forces = model(start).forces()

    def energy(u, e=None):
        e = torch.zeros(1, 3, 3, dtype=torch.float64) if e is None else e
        return float(model(start.deformed(u, e)).energy.detach())

    h = 1e-4
    for i, a in [(0, 0), (1, 2), (2, 1)]:
        u = torch.zeros_like(start.positions)
        u[i, a] = h
        assert abs((energy(-u) - energy(u)) / (2 * h) - float(forces[i, a])) < 1e-8
    assert float(forces.abs().max()) > 1e-3
    if where != "open":
        stress = model(start).stress()
        assert float((stress - stress.transpose(1, 2)).abs().max()) < 1e-15
        zero = torch.zeros_like(start.positions)
        for a, b in [(0, 0), (1, 2), (0, 1)]:
            e = torch.zeros(1, 3, 3, dtype=torch.float64)
            e[0, a, b] += h / 2
            e[0, b, a] += h / 2
            numeric = (energy(zero, e) - energy(zero, -e)) / (2 * h) / float(start.volume[0])
            assert abs(numeric - float(stress[0, a, b])) < 1e-8
        assert float(stress.abs().max()) > 1e-5


@pytest.mark.parametrize("solver", SOLVERS)
def test_response_functions_are_differences(solver):
    model = model_of(QUADRATIC, SOLVERS[solver])
    start = BOUNDARIES["open"]
    solution = model(start)
    h = 1e-3
    alpha, born = solution.polarizability(), solution.born_charges()
    for a in range(3):
        field = torch.zeros(3, dtype=torch.float64)
        field[a] = h
        up, down = ((model + UniformField(sign * field))(start).dipole for sign in (1.0, -1.0))
        assert float(((up - down) / (2 * h) - alpha[:, :, a]).abs().max()) < 1e-8
    assert float((alpha - alpha.transpose(1, 2)).abs().max()) < 1e-10
    u = torch.zeros_like(start.positions)
    u[1, 2] = h
    no_strain = torch.zeros(1, 3, 3, dtype=torch.float64)
    up, down = (model(start.deformed(sign * u, no_strain)).dipole for sign in (1.0, -1.0))
    assert float(((up - down) / (2 * h) - born[1, :, 2]).abs().max()) < 1e-5
    # translation moves the dipole by the total charge: acoustic sum rule
    assert float((born.sum(0) - 0.3 * torch.eye(3, dtype=torch.float64)).abs().max()) < 1e-10

    def charged(q):
        return model.replace(constraints=[TotalCharge(q)])(start)

    more, less = charged(0.3 + h), charged(0.3 - h)
    fukui = (more.charges - less.charges) / (2 * h)
    hardness = (less.chemical_potential - more.chemical_potential) / (2 * h)  # dmu/dN = -dmu/dQ
    assert float((solution.fukui() - fukui).abs().max()) < 1e-9
    assert abs(float(solution.fukui().sum()) - 1) < 1e-12
    assert float((solution.hardness() - hardness).abs().max()) < 1e-9
    assert abs(float((more.energy - less.energy) / (2 * h) + solution.chemical_potential)) < 1e-9
    held = model.replace(constraints=[TotalCharge(potential=-float(solution.chemical_potential))])(start)
    assert float((held.charges - solution.charges).abs().max()) < 1e-9
    nudged = model.replace(constraints=[TotalCharge(potential=-float(solution.chemical_potential) - h)])(start)
    assert float(((nudged.charges - held.charges) / h + solution.softness()).abs().max()) < 1e-7  # mu up, q down


def test_susceptibility_and_hardness_matrix():
    model = model_of(QUADRATIC, Direct())
    batch = Structure.batch([BOUNDARIES["open"], BOUNDARIES["cell"]])
    solution = model(batch)
    chi, eta = solution.susceptibility(), solution.hardness_matrix()
    assert chi.shape == eta.shape == (2, 12, 12)
    charge_row = torch.zeros(12, dtype=torch.float64)
    charge_row[::4] = 1.0
    assert float((chi @ charge_row).abs().max()) < 1e-12  # a constant potential moves nothing
    neutral = torch.eye(12, dtype=torch.float64) - torch.outer(charge_row, charge_row) / 3
    assert float((-chi @ eta @ neutral - neutral).abs().max()) < 1e-9
    inverse = torch.linalg.pinv(neutral @ eta @ neutral)
    assert float((chi + inverse).abs().max()) < 1e-9
    assert float(torch.linalg.eigvalsh(chi).max()) < 1e-12
    d = solution.structure.positions[:3, 0]
    alpha = model(BOUNDARIES["open"]).polarizability()[0, 0, 0]
    moment = torch.stack([d, *torch.eye(3, dtype=torch.float64)[:1].expand(3, 3).T], 1).flatten()
    assert abs(float(-moment @ chi[0] @ moment - alpha)) < 1e-10


def test_force_training_gradient():
    """d(loss of forces)/d(parameters): one chord step is exact."""
    start = BOUNDARIES["open"]

    def loss(chi, eta):
        functional = Hartree() + Electronegativity(chi) + Hardness(eta) + Anharmonic(quartic=0.5)
        solution = Model(functional, Multipoles(width=1.0))(start)
        return (solution.forces() ** 2).sum() + (solution.charges**2).sum()

    chi = torch.tensor([0.3, 0.1, 0.15], dtype=torch.float64, requires_grad=True)
    eta = torch.tensor([0.4, 0.5, 0.6], dtype=torch.float64, requires_grad=True)
    assert gradcheck(loss, (chi, eta), atol=1e-6)
    assert gradgradcheck(loss, (chi, eta), fast_mode=True, atol=1e-5)


def test_fixed_potential_forces():
    """At fixed potential forces are derivatives of the grand potential, and dOmega/dmu = Q."""
    start = BOUNDARIES["open"]
    constraints = [FragmentCharge([0], potential=-0.1), FragmentCharge([1, 2], charge=0.2)]
    model = model_of(QUADRATIC, None).replace(constraints=constraints)
    solution = model(start)
    h, u = 1e-4, torch.zeros_like(start.positions)
    u[0, 2] = h
    zero = torch.zeros(1, 3, 3, dtype=torch.float64)
    up, down = (model(start.deformed(s * u, zero)).grand_potential for s in (1.0, -1.0))
    assert abs(float((down - up) / (2 * h)) - float(solution.forces()[0, 2])) < 1e-8
    omega = [model.replace(constraints=[TotalCharge(potential=-mu)])(start).grand_potential for mu in (-0.2 - h, -0.2 + h)]
    charge = model.replace(constraints=[TotalCharge(potential=0.2)])(start).total_charge
    assert abs(float((omega[1] - omega[0]) / (2 * h) - charge)) < 1e-7


@pytest.mark.parametrize("name", ["fixed", "split charges", "response modes"])
def test_ansatz_derivatives(name):
    start = BOUNDARIES["open"]
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    p0 = torch.tensor([-0.5, 0.4, 0.4], dtype=torch.float64)

    def energy(positions, p0, factor):
        structure = start.deformed(positions - start.positions, torch.zeros_like(start.cell))
        ansatz = {
            "fixed": cgdft.Fixed(p0),
            "split charges": SplitCharges([[0, 1], [0, 2]], hardness=factor[0, :2] ** 2, p0=p0),
            "response modes": ResponseModes(factor, p0),
        }[name]
        model = Model(
            Hartree() + Electronegativity(0.1) + Anharmonic(quartic=0.3),
            Multipoles(width=1.0),
            ansatz=ansatz,
            constraints=[],
        )
        solution = model(structure)
        return solution.energy, solution.charges, solution.forces()

    inputs = tuple(x.clone().requires_grad_() for x in (start.positions, p0, factor))
    assert gradcheck(energy, inputs, fast_mode=True, atol=1e-6)
    assert gradgradcheck(energy, inputs, fast_mode=True, atol=1e-5)


def test_no_graph_unless_asked():
    water = BOUNDARIES["open"]
    model = QEqDipoles()
    solution = model(water)
    for value in (solution.energy, solution.charges, solution.forces(), solution.polarizability(), solution.fukui()):
        assert not value.requires_grad

    @cgdft.term
    def quartic(rho, k=0.05):
        return rho.total(k * rho.charges**4 / 24)

    with torch.no_grad():
        assert torch.equal(model(water).forces(), solution.forces())
        assert torch.equal(model(water).polarizability(), solution.polarizability())
    assert not (model + quartic())(water).charges.requires_grad
    learnt = model + Hardness(torch.nn.Parameter(torch.full((3,), 0.1, dtype=torch.float64)))
    assert learnt(water).charges.requires_grad
    with torch.no_grad():
        assert not learnt(water).charges.requires_grad
        assert not learnt(water).forces().requires_grad


def test_undefined_observables_say_why():
    cell, water = BOUNDARIES["cell"], BOUNDARIES["open"]
    for call in ("polarizability", "born_charges"):
        with pytest.raises(ValueError, match=f"`{call}` of bulk needs charges that are fixed"):
            getattr(QEq()(cell), call)()
    with pytest.raises(ValueError, match="`dipole` is defined"):
        _ = QEq()(cell).dipole
    with pytest.raises(ValueError, match="`stress` needs periodic cells with a volume"):
        QEq()(water).stress()
    fixed = LatentCharges(torch.tensor([-0.5, 0.4, 0.4]))(water)
    with pytest.raises(ValueError, match="`chemical_potential` needs a total charge that may change"):
        _ = fixed.chemical_potential
    with pytest.raises(ValueError, match="needs a total charge"):
        fixed.fukui()
    assert float(fixed.polarizability().abs().max()) == 0.0
    assert float(fixed.forces().abs().max()) > 1e-3


OBSERVABLES = {
    "forces": lambda s: s.forces(),
    "virial": lambda s: s.virial(),
    "charges": lambda s: s.charges,
    "polarizability": lambda s: s.polarizability(),
    "Born charges": lambda s: s.born_charges(),
    "Fukui function": lambda s: s.fukui(),
    "hardness": lambda s: s.hardness(),
    "softness": lambda s: s.softness(),
    "susceptibility": lambda s: s.susceptibility(),
}


class Soft(cgdft.GrandPotential):
    """Omega_s = -sum_i (v_i + chi)^2 (1 + v_i / 5) / (2 eta)."""

    def __init__(self, eta):
        super().__init__()
        self.eta = eta

    def forward(self, structure, v):
        away = v[:, 0] + 0.3 - 0.13 * (structure.numbers == 1)
        return -structure.total(away**2 * (1 + 0.2 * v[:, 0])) / (2 * self.eta)


CHARGES = Hartree() + Electronegativity({"H": 0.17, "O": 0.32}) + Hardness(0.4)
KINDS = {
    "quadratic": lambda x: Model(QUADRATIC + Hardness(x), Multipoles(1, width=1.0)),
    "anharmonic": lambda x: Model(CHARGES + Hardness(x) + Anharmonic(quartic=0.5), Multipoles(width=1.0)),
    "energy reported in another's place": lambda x: Model(
        CHARGES + Hardness(x), Multipoles(width=1.0), readout=Hartree(self_interaction=False) + Hardness(2 * x)
    ),
    "grand potential": lambda x: Model(Hartree(), Multipoles(width=1.0), cgdft.Response(Soft(0.3 + x))),
    "so many answers": lambda x: Model(Hartree(), Multipoles(width=1.0), cgdft.Response(Soft(0.3 + x), 3)),
}


OF_ALL = ("forces", "polarizability")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=[] if kind == "anharmonic" or name in OF_ALL else [pytest.mark.slow])
        for name in OBSERVABLES
        for kind in KINDS
    ],
)
def test_observables_are_differentiable_twice(name, kind):
    """By a parameter of the functional, against differences of values and of first derivatives."""
    generator = torch.Generator()

    def value(x):
        found = OBSERVABLES[name](KINDS[kind](x)(BOUNDARIES["open"]))
        return (found * torch.randn(found.shape, generator=generator.manual_seed(0), dtype=found.dtype)).sum()

    x = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    assert gradcheck(value, (x,), atol=1e-6)
    assert gradgradcheck(value, (x,), atol=1e-6)


@pytest.mark.parametrize("bond", [2.1, 2.2, 2.3])
@pytest.mark.parametrize("strength", [0.1, 0.3, 0.7, 1.1, 1.9])
def test_what_symmetry_forbids_is_not_solved_for(bond, strength):
    """A field across the bond moves no charge: the right-hand side is what rounding leaves of a projection."""

    @cgdft.term
    def quartic(rho, k=0.05):
        return rho.total(k * rho.charges**4 / 24)

    carbon_monoxide = Structure([6, 8], [[0.0, 0.0, 0.0], [0.0, 0.0, bond]])
    alpha = (QEq() + quartic(k=strength))(carbon_monoxide).polarizability()[0]
    assert float(alpha[2, 2]) > 1.0
    assert float(alpha[:2, :2].abs().max()) == 0.0
