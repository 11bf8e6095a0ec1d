"""What a solution depends on may change after the solve: then it is refused, or was copied; no two states are mixed."""

import numpy as np
import pytest
import torch
from ase.build import molecule

from cgdft import FragmentCharge, Model, Multipoles, Structure, Term, TotalCharge, term
from cgdft.ansatz import Fixed, ResponseModes, SplitCharges
from cgdft.ase import CGDFT
from cgdft.functionals import EEQ, CoordinationNumber, Electrodes, Electronegativity, Hardness, Hartree, QEq
from cgdft.functionals.hartree import Operator
from cgdft.units import eV

D = torch.float64
WATER = Structure.from_ase(molecule("H2O"))


def number(value):
    return torch.tensor(value, dtype=D)


def soft(chi, **settings):
    return Model(Hartree() + Electronegativity(chi) + Hardness(0.3), Multipoles(width=1.0), **settings)


CHI = {"H": 0.1, "O": 0.3}
#: A tensor to be changed -> the model with it.
HOLDERS = {
    "potential": (number(-0.1), lambda v: QEq().replace(constraints=[TotalCharge(potential=v)])),
    "charge": (number(0.3), lambda v: QEq().replace(constraints=[FragmentCharge([0], v), TotalCharge()])),
    "per element": (number(0.3), lambda v: soft({"O": v, "H": 0.1})),
    "bond hardness": (number(0.2), lambda v: soft(CHI, ansatz=SplitCharges([[0, 1], [0, 2]], v))),
    "bond hardness per pair": (number(0.2), lambda v: soft(CHI, ansatz=SplitCharges([[0, 1], [0, 2]], {("O", "H"): v}))),
    "modes": (number([[1.0], [-0.5], [-0.5]]), lambda v: soft(CHI, ansatz=ResponseModes(v))),
    "reference": (number([[-0.4], [0.2], [0.2]]), lambda v: soft(CHI, ansatz=Fixed(v))),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_tensors_of_models_are_watched(holder):
    value, make = HOLDERS[holder]
    value = value.clone()
    model = make(value)
    atoms = molecule("H2O")
    atoms.calc = CGDFT(model)
    before, solution = atoms.get_potential_energy(), model(WATER)
    assert not solution.outdated
    value *= 1.1
    assert solution.outdated
    with pytest.raises(RuntimeError, match="changed in place"):
        solution.forces()
    fresh = molecule("H2O")
    fresh.calc = CGDFT(make(value.clone()))
    assert abs(atoms.get_potential_energy() - before) > 1e-6
    assert atoms.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), rel=1e-10)


def learnt(network=None):
    return soft(torch.nn.Parameter(number([0.3, 0.1, 0.1])) if network is None else lambda s: network(s.positions)[:, 0])


CHANGES = {
    "data": lambda model: setattr(next(model.parameters()), "data", number([0.4, 0.1, 0.1])),
    "a vector": lambda model: torch.nn.utils.vector_to_parameters(number([0.4, 0.1, 0.1]), model.parameters()),
    "a part": lambda model: setattr(model, "functional", learnt().functional),
    "a constraint": lambda model: setattr(model, "constraints", [TotalCharge(0.5)]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_put_in_place_of_another_is_seen(change):
    model = learnt()
    solution = model(WATER)
    CHANGES[change](model)
    assert solution.outdated
    with pytest.raises(RuntimeError, match="changed in place"):
        solution.forces()


class Quartic(Term):
    """Settings that are plain numbers, alone and in a dict."""

    local = True

    def __init__(self, k):
        super().__init__()
        self.k, self.of, self._asked = k, {"H": 1.0, "O": 2.0}, 0

    def energy(self, rho):
        self._asked += 1
        of = torch.tensor([self.of[one] for one in rho.structure.symbols], dtype=D)
        return rho.total(self.k * of * rho.charges**4)


SETTINGS = {
    "number": (lambda model: setattr(list(model.functional)[-1], "k", 5.0), r"\(k of Quartic at functional\.terms\.3\)"),
    "dict": (lambda model: list(model.functional)[-1].of.update(H=3.0), r"\(of of Quartic at functional\.terms\.3\)"),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_plain_settings_are_watched(setting):
    change, named = SETTINGS[setting]
    model = QEq() + Quartic(0.1)
    atoms = molecule("H2O")
    atoms.calc = CGDFT(model)
    before, solution = atoms.get_potential_energy(), model(WATER)
    assert solution.forces().isfinite().all()
    assert not solution.outdated
    change(model)
    assert solution.outdated
    with pytest.raises(RuntimeError, match=named):
        solution.forces()
    assert abs(atoms.get_potential_energy() - before) > 1e-6


FACTOR, CALLS, SEEN = 0.1, 0, []


@term(local=True)
def by_a_global(rho):
    global CALLS
    CALLS += 1
    SEEN.append(1)
    return FACTOR * rho.total(rho.charges**4)


class Shifted:
    """A callable object with a number of its own."""

    def __init__(self):
        self.shift = 0.1

    def __call__(self, structure):
        return self.shift + 0.2 * (structure.numbers == 8)


def of_list():
    quartic = Quartic(0.1)
    quartic.more = [0.1, 0.2]
    return QEq() + quartic, lambda: quartic.more.__setitem__(0, 0.5), "more"


def of_array():
    quartic = Quartic(0.1)
    quartic.more = np.array([0.1, 0.2])
    return QEq() + quartic, lambda: quartic.more.fill(0.5), "more"


def of_closure():
    factor = 0.1

    @term(local=True)
    def closed(rho):
        return factor * rho.total(rho.charges**4)

    def change():
        nonlocal factor
        factor = 0.5

    return QEq() + closed(), change, "factor"


def of_global():
    return QEq() + by_a_global(), lambda: globals().update(FACTOR=FACTOR + 0.3), "FACTOR"


def of_callable():
    chi = Shifted()
    return (
        Model(Hartree() + Electronegativity(chi) + Hardness(0.5), Multipoles(width=1.0)),
        lambda: setattr(chi, "shift", 1),
        "shift",
    )


def of_module():
    numbers = CoordinationNumber()
    return EEQ(numbers), lambda: setattr(numbers, "steepness", 3.0), "steepness"


def of_constraint():
    atoms = [1]
    fragment = FragmentCharge(atoms, 0.3)
    return QEq().replace(constraints=[TotalCharge(), fragment]), lambda: atoms.__setitem__(0, 0), "atoms"


@pytest.mark.parametrize("make", [of_list, of_array, of_closure, of_global, of_callable, of_module, of_constraint])
def test_what_functions_name_is_watched(make):
    """But for what they set themselves, and for what is added to lists."""
    model, change, name = make()
    atoms = molecule("H2O")
    atoms.calc = CGDFT(model)
    atoms.get_potential_energy()
    solution = model(WATER)
    assert solution.forces().isfinite().all()
    assert solution.polarizability().isfinite().all()
    change()
    assert solution.outdated
    with pytest.raises(RuntimeError, match=f"{name} of"):
        solution.polarizability()
    assert atoms.get_potential_energy() * eV == pytest.approx(float(model(WATER).energy), abs=1e-9)


def test_what_a_solve_itself_changes_does_not_count():
    """Counters, caches and lists; nor do globals that are called as what a function takes from others."""
    calls, stats = [0], {"n": 0}

    @term(local=True)
    def counted(rho):
        calls[0] += 1
        stats["n"] += 1
        return 0.1 * rho.total(rho.charges**4)

    globals().update(total=0.0, charges=[0.0])
    try:
        solution = (QEq() + counted())(WATER)
        globals().update(total=float(solution.energy), charges=solution.charges.tolist())
        assert not solution.outdated
        assert solution.forces().isfinite().all()
    finally:
        del globals()["total"], globals()["charges"]


def test_what_modules_and_constraints_note_of_a_structure_does_not_count():
    """Also where structures of one size have left it alone before another came."""

    class Noting(torch.nn.Module):
        def forward(self, structure):
            self.last = structure.n_atoms
            return 0.1 * structure.numbers.sqrt()

    class Watching(TotalCharge):
        def rows(self, structure, basis):
            object.__setattr__(self, "seen", structure.n_atoms)
            return super().rows(structure, basis)

    model = soft(Noting(), constraints=[Watching()])
    first, again = model(WATER), model(WATER)
    other = model(Structure.from_ase(molecule("NH3")))
    for solution in (first, again, other):
        assert not solution.outdated
        assert solution.forces().isfinite().all()


def test_a_network_that_a_function_names_is_seen():
    network = torch.nn.Linear(3, 1, dtype=D)
    solution = learnt(network)(WATER)
    with torch.no_grad():
        network.weight.mul_(1.1)
    assert solution.outdated


@pytest.mark.parametrize("grad", [True, False])
def test_solutions_keep_the_parameters_of_a_functional_call(grad):
    model, other = learnt(), learnt()
    given = {name: (1.5 * value).detach().requires_grad_() for name, value in model.named_parameters()}
    other.load_state_dict(given, strict=False)
    with torch.set_grad_enabled(grad):
        solution, expected = torch.func.functional_call(model, given, (WATER,)), other(WATER)
        for call in ("forces", "virial", "hardness", "polarizability"):
            torch.testing.assert_close(getattr(solution, call)(), getattr(expected, call)(), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(solution.energies, expected.energies, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(model(WATER).energy, learnt()(WATER).energy, rtol=0, atol=0)
    if grad:
        (slope,) = torch.autograd.grad((solution.forces() ** 2).sum(), given.values())
        (right,) = torch.autograd.grad((expected.forces() ** 2).sum(), other.parameters())
        torch.testing.assert_close(slope, right, rtol=1e-10, atol=1e-14)


def test_what_draws_anew_is_refused():
    network = torch.nn.Sequential(torch.nn.Linear(3, 8, dtype=D), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1, dtype=D))

    class Chi(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, structure):
            return self.network(structure.positions)[:, 0]

    model = soft(Chi())
    with pytest.raises(ValueError, match=r"got Dropout.* that draws anew: call model\.eval\(\)"):
        model(WATER)
    model.eval()(WATER).forces()


def test_solutions_are_not_read_in_inference_mode():
    solution = learnt()(WATER)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="forbids derivatives"):
        _ = solution.energy


def test_a_ramp_of_the_voltage():
    places = [[i * 5.0, j * 5.0, z] for z in (0, 20.0) for i in (0, 1) for j in (0, 1)]
    plates = Structure([79] * 8, places, np.diag([10.0, 10.0, 0.0]), [1, 1, 0])
    voltage = number(0.1)
    solution = Electrodes(range(4), range(4, 8), voltage)(plates)
    charge = float(solution.charges[:4].sum())
    voltage.fill_(0.2)
    assert solution.outdated
    assert float(solution.model(plates).charges[:4].sum()) == pytest.approx(2 * charge)


def test_arrays_are_copied():
    positions, chi = WATER.positions.numpy().copy(), np.array([0.3, 0.1, 0.1])
    structure = Structure([8, 1, 1], positions)
    model = soft(chi)
    solution = model(structure)
    dipole, energy = solution.dipole.clone(), solution.energy.clone()
    positions *= 1.5
    chi *= 2
    assert not solution.outdated
    torch.testing.assert_close(model(structure).energy, energy, rtol=0, atol=1e-14)
    torch.testing.assert_close(solution.dipole, dipole, rtol=0, atol=0)


def test_sums_are_those_of_the_positions_now():
    """Compiled sums are shared by what is at the same places, which may have moved since."""
    model = Model(Hartree(operator=Operator.COMPILED) + Electronegativity(CHI) + Hardness(0.3), Multipoles(width=1.0))
    structure = Structure([8, 1, 1], WATER.positions.clone())
    with torch.no_grad():
        old = model(structure)
        structure.positions.mul_(1.3)
        again, fresh = model(structure), model(Structure([8, 1, 1], structure.positions.clone()))
        expected = soft(CHI)(structure)
    assert float((old.charges - expected.charges).abs().max()) > 1e-2
    for one in (again, fresh):
        torch.testing.assert_close(one.charges, expected.charges, rtol=0, atol=1e-7)
