"""Every named model passes the public check: open, charged, periodic; and the check finds what is wrong."""

import inspect
import pickle
from importlib import import_module

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from named import MODELS, known, made

import cgdft
from cgdft import (
    FragmentCharge,
    Free,
    Model,
    Multipoles,
    PotentialDifference,
    SplitCharges,
    Structure,
    TotalCharge,
    check_model,
)
from cgdft.ase import CGDFT, annotated
from cgdft.design_space import far_apart, markdown, places
from cgdft.electrostatics.pairs import fading, near_pairs
from cgdft.functionals import SQE, Electronegativity, Hardness, Hartree, QEq, UniformField
from cgdft.testing.model import FAR
from cgdft.testing.structures import beside, lacking, stretched
from cgdft.units import angstrom, eV

#: A molecule, and a crystal of two atoms that are bonded to images of each other, for models that have other elements too.
OF_ELEMENTS = [("CH3OH", "CO"), ("H2O2", "OH"), ("NaCl", "NaCl")]


def structures(name="CH3OH", crystal="CO"):
    atoms = molecule(name)
    atoms.rattle(0.1, seed=1)
    cell = atoms.copy()
    cell.set_cell([[7.0, 0, 0], [0.8, 7.5, 0], [0.2, -0.3, 8.0]])
    cell.pbc = True
    crystal = bulk(crystal, "zincblende", 3.6)
    crystal.rattle(0.1, seed=1)
    return {
        "open": Structure.from_ase(atoms),
        "cation": Structure.from_ase(atoms, charge=1),
        "cell": Structure.from_ase(cell),
        "crystal": Structure.from_ase(crystal),
    }


LONG = ("energy-functional", "fixed-point-response", "truncated-recursion")


def cases():
    """Every model on every structure; cations, and what takes seconds a case in all but one, not in the usual run."""
    for name in MODELS:
        for where in ("open", "cation", "cell", "crystal"):
            long = where == "cation" or (name in LONG and where != "cell")
            yield pytest.param(name, where, marks=[pytest.mark.slow] if long else [], id=f"{name}-{where}")


@pytest.mark.parametrize(("name", "where"), list(cases()))
def test_named_models(name, where):
    structure = known(MODELS[name], [structures(*of)[where] for of in OF_ELEMENTS])[0]
    found = check_model(made(MODELS[name], structure), structure, tolerance=1e-5)
    assert len(found) > 10


@pytest.mark.parametrize("name", MODELS)
def test_named_models_in_ase(name):
    """Energy and forces of the calculator are those of the solution; stress in a cell; a batch in a field."""
    molecules = known(MODELS[name], [Structure.from_ase(molecule(one)) for one, _ in OF_ELEMENTS])
    atoms = molecules[0].to_ase()
    atoms.rattle(0.1, seed=1)
    cell = atoms.copy()
    cell.set_cell([7.0, 7.5, 8.0])
    cell.pbc = True
    for one in (atoms, cell):
        structure = Structure.from_ase(one)
        model = made(MODELS[name], structure)
        solution = model(structure)
        one.calc = CGDFT(model)
        assert one.get_potential_energy() * eV == pytest.approx(float(solution.energy), abs=1e-9)
        assert np.allclose(one.get_forces() * eV / angstrom, solution.forces().numpy(), atol=1e-9)
        if one.pbc.all():
            assert np.isfinite(one.get_stress()).all()
    structure = Structure.batch([molecules[0]] * 2)
    batch = (made(MODELS[name], structure) + UniformField([0.0, 0.0, 1e-3]))(structure)
    assert torch.allclose(batch.energy[0], batch.energy[1], atol=1e-10)


def test_every_model_can_be_made():
    for record in MODELS.values():
        module = import_module(record.module)
        assert inspect.isfunction(getattr(module, record.maker)) or inspect.isclass(getattr(module, record.maker))
        assert not record.needs or hasattr(module, "example"), f"{record.name} needs {record.needs}: give its file an example()"


def test_models_of_few_elements(monkeypatch):
    """Structures are of elements that all tables of a model have; where there are none, nothing is tried."""
    some = [structures(*of)["crystal"] for of in OF_ELEMENTS]
    pairs = SQE({("C", "O"): 0.3, ("O", "O"): 0.3})
    few = Model(
        Hartree() + Electronegativity({"H": 0.1, "O": 0.3}) + Hardness(0.5), Multipoles(width={"O": 1.0, "H": 1.0, "C": 1.0})
    )
    assert [sorted(lacking(few, one)) for one in some] == [["C"], [], ["Cl", "Na"]]
    assert [sorted(lacking(pairs, one)) for one in some] == [[], ["H"], ["Cl", "Na"]]
    monkeypatch.setattr("named.made", lambda record, structure: few)
    assert known(MODELS["qeq"], some) == some[1:2]
    with pytest.raises(pytest.skip.Exception, match="qeq has no parameters for C or Cl, Na"):
        known(MODELS["qeq"], [some[0], some[2]])


def test_every_example_goes_to_other_processes():
    water = structures()["open"]
    for record in MODELS.values():
        module = import_module(record.module)
        if hasattr(module, "example"):
            pickle.loads(pickle.dumps(module.example(water)))


def test_far_charge_is_reported():
    """QEq charges a far atom: the check says so, and does not call it an error."""
    found = check_model(QEq(), structures()["open"])
    assert abs(found["charge on a far atom"]) > 1e-3
    assert found["size consistency"] < -1e-5


APART = {
    "exchange charge": (
        *("eeq", "electrodes", "energy-functional", "fixed-point-response", "fourth-generation", "integer-charges", "qeq"),
        *("qeq-dipoles", "qtpie", "spin-equilibration", "truncated-recursion"),
    ),
    "share an ion's charge": (
        *("acks2", "fluctuating-dipoles", "latent-charges", "local-multipoles", "local-split-charges", "sqe"),
    ),
    "independent": ("les",),
}


def test_fragments_far_apart():
    """One chemical potential moves charge at any distance; what is local does not, but shares an ion's charge out."""
    found = {record.name: where.far_apart for record, where, _ in places()}
    expected = {name: what for what, names in APART.items() for name in names}
    assert {name: found[name] for name in expected} == expected
    assert set(found.values()) == set(APART)


def test_a_cure_for_sharing_an_ions_charge():
    """A p0 that says where the charge is; and what is periodic has no place far away."""
    water = Structure.from_ase(molecule("H2O"))

    def on_hydrogen(s):
        near = (s.numbers == 1).double()
        return (s.charge[s.index] * near / s.total(near).clamp(min=1)[s.index])[:, None]

    assert far_apart(SQE(0.3), water) == "share an ion's charge"
    assert far_apart(SQE(0.3, p0=on_hydrogen), water) == "independent"
    assert far_apart(SQE(0.3), structures()["cell"]) == "not tried"

    @cgdft.term
    def of_all_pairs(rho):
        s = rho.structure
        return rho.total(0.01 * s.counts[s.index] + 0.0 * rho.charges)

    assert far_apart(SQE(0.3, p0=on_hydrogen) + of_all_pairs(), water) == "not additive"


@pytest.mark.parametrize("name", MODELS)
def test_two_copies_far_apart(name):
    """Twice the energy in every model but for Coulomb's law between net charges, which only those of LES have."""
    water = known(MODELS[name], [Structure.from_ase(molecule(one)) for one in ("H2O", "CH4", "NaCl")])[0]
    two = beside(water, water, [FAR, 0.0, 0.0])
    one, both = made(MODELS[name], water)(water), made(MODELS[name], two)(two)
    charge = float(one.total_charge.detach())
    assert (abs(charge) > 0.1) == (name == "les")
    assert float(both.energy.detach()) == pytest.approx(2 * float(one.energy.detach()) + charge**2 / FAR, abs=1e-7)
    torch.testing.assert_close(both.charges.detach(), one.charges.detach().repeat(2), atol=1e-5, rtol=0)


def test_a_model_may_solve_another():
    """In a function of the structure: derivatives go through both, and what nothing asks a gradient of has none."""
    model = Model(Hartree() + Electronegativity(lambda s: 0.3 + 0.1 * QEq()(s).charges) + Hardness(0.5), Multipoles(width=1.0))
    structure = structures()["open"]
    check_model(model, structure)
    assert not model(structure).charges.requires_grad
    assert not model(structure).forces().requires_grad


PER_ATOM = torch.linspace(-0.1, 0.2, 6, dtype=torch.float64)
#: Of models that hold to atoms, places, directions or charges of their own, what is left out of the check and what is not.
HELD = {
    "a charge of numbered atoms": (QEq().replace(constraints=[TotalCharge(), FragmentCharge([0], charge=-0.3)]), "permutation"),
    "a battery": (QEq().replace(constraints=[PotentialDifference([0], [1], 0.1), FragmentCharge([2, 3, 4, 5], 0.0)]), "batch"),
    "some that relax": (QEq().replace(ansatz=Free([0, 1, 2])), "permutation"),
    "given bonds": (SQE(0.3, bonds=[[0, 1], [0, 2], [0, 3], [0, 4], [1, 5]]), "batch"),
    "parameters per atom": (QEq() + Electronegativity(PER_ATOM), "permutation"),
    "a field": (QEq() + UniformField([0.0, 0.0, 0.01]), "rotation"),
    "a field in a readout": (QEq().replace(readout=Hartree() + UniformField([0.0, 0.0, 0.01])), "translation"),
    "a total charge": (QEq().replace(constraints=[TotalCharge(1.0)]), "supercell"),
}


@pytest.mark.parametrize("name", HELD)
def test_what_a_model_holds_to_is_left_out(name):
    model, left = HELD[name]
    for where in ("open",) if name.startswith("a field") else ("open", "cell"):
        found = check_model(model, structures()[where])
        assert not any(what.startswith(left) for what in found)
        assert {"forces", "virial"} <= set(found)


def test_batches_are_checked():
    some = structures()
    found = check_model(QEq(), Structure.batch([some["open"], some["crystal"]]))
    assert {"rotation of forces", "permutation of charges", "batch", "forces", "virial", "continuity"} <= set(found)


def test_models_without_a_minimum_with_nearer_atoms():
    """As dipoles of polarizabilities that are large: 15 % nearer there is a catastrophe, 5 % nearer none."""
    water = Structure.from_ase(molecule("H2O"))
    terms = Hartree(self_interaction=False) + Electronegativity({"H": 0.1, "O": 0.3}) + Hardness(0.6, l=1)
    model = Model(terms, Multipoles(1, width=0.3), SplitCharges(bonds=[], p0={"O": -0.6, "H": 0.3}))
    with pytest.raises(cgdft.SolverError):
        model(stretched(water, torch.tensor(-0.15)))
    assert check_model(model, water)["continuity"] < 1e-6


class Narrow(torch.nn.Module):
    """Electronegativities of the surroundings by weights in single precision."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.1))

    def forward(self, s):
        i, j, apart = near_pairs(s, 8.0)
        near = torch.zeros_like(s.positions[:, 0]).index_add(0, i, fading(apart, 8.0) * s.numbers[j])
        return (0.3 + torch.tanh(self.weight * near.to(self.weight.dtype))).double()


NARROW = Narrow()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("chi", [Narrow(), lambda s: NARROW(s)], ids=["a module", "a function"])
def test_single_precision_is_named(chi):
    model = Model(Hartree() + Electronegativity(chi) + Hardness(0.5), Multipoles(width=1.0))
    for check, one in ((cgdft.check_term, Electronegativity(chi)), (check_model, model)):
        with pytest.raises(AssertionError, match=r"weight` is float32, .* in double precision, by .double\(\)"):
            check(one, structures()["open"])
    if isinstance(chi, Narrow):
        check_model(model.double(), structures()["open"])


def test_mistakes_are_found():

    def crooked(s):
        return 0.3 + 0.01 * s.positions[:, 0]  # a place of its own

    def frozen(s):
        near = (s.index[:, None] == s.index) * torch.exp(-0.1 * (s.positions[:, None] - s.positions).square().sum(2))
        return 0.3 + 0.1 * near.sum(1).detach()  # a derivative that is lost

    basis = Multipoles(width=1.0)

    def numbered(s):
        return 0.3 + 0.1 * s.local  # the same for every structure

    def cut(s):
        i, _, _ = near_pairs(s, 6.0)
        return 0.3 + 0.01 * s.numbers * torch.bincount(i, minlength=s.n_atoms)

    for chi, where, message in (
        (crooked, "open", "(rotation|translation).*external = True"),
        (frozen, "open", "forces.*no detach"),
        (numbered, "open", "permutation.*not within a function"),
        (cut, "crystal", "continuity: .* must go to zero there"),
    ):
        model = Model(Hartree() + Electronegativity(chi) + Hardness(0.5), basis)
        with pytest.raises(AssertionError, match=message):
            check_model(model, structures()[where])
    assert cgdft.check_model is check_model
    assert torch.is_grad_enabled()


def test_the_page_of_models_is_generated():
    """docs/models.md is what the code says, never written by hand: `python -m cgdft.design_space > docs/models.md`."""
    from pathlib import Path

    assert (Path(__file__).parents[1] / "docs" / "models.md").read_text() == markdown()
    found = {record.name: (where, said) for record, where, said in places()}
    assert set(found) == set(MODELS)
    assert all(hasattr(cgdft.functionals, record.maker) for record in MODELS.values())  # exported
    assert all(said in ("latent", "labelled") for _, said in found.values())
    assert found["latent-charges"][0].solved == "one shot"
    assert found["fourth-generation"][0].energy == "read out"
    assert found["qeq"][0].response == "each atom"


def test_models_at_a_potential():
    """Forces are those of the grand potential."""
    check_model(QEq().at_potential(-0.2), structures()["open"])


def test_annotated_atoms_are_read_again():
    atoms = molecule("CH3OH")
    atoms.info["total_charge"] = 0
    structure = Structure.from_ase(atoms)
    found = annotated(atoms, QEq().at_potential(-0.1)(structure))
    assert abs(found.info["charge"]) > 1e-3
    assert float(Structure.from_ase(found).charge) == pytest.approx(found.info["charge"])
