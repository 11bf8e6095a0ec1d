"""Structures, constraints and ansaetze: what they accept, what they refuse and how they say so."""

import copy
import pickle

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

import cgdft
from cgdft import (
    Density,
    Fixed,
    FragmentCharge,
    Model,
    Multipoles,
    PotentialDifference,
    ResponseModes,
    SplitCharges,
    Structure,
    TotalCharge,
)
from cgdft.ase import CGDFT
from cgdft.functionals import Electronegativity, Hardness, Hartree, Pairwise, QEq, UniformField
from cgdft.solvers import CG, FixedPoint, Newton
from cgdft.units import angstrom

WATER = [[0.0, 0.0, 0.0], [1.8, 0.0, 0.0], [-0.4, 1.7, 0.0]]
D = torch.float64

BAD = {
    "NaN position": (
        dict(numbers=[8, 1], positions=[[0.0, 0, 0], [0, float("nan"), 1]]),
        r"`positions` must be finite.*\[1, 1\]",
    ),
    "coincident": (
        dict(numbers=[8, 1], positions=[[0.0, 0, 0], [0, 0, 0.01]]),
        "`positions` must be distinct.*atoms 0 and 1",
    ),
    "coincident image": (
        dict(numbers=[8, 1], positions=[[0.0, 0, 0], [0, 0, 4.99]], cell=5 * np.eye(3), pbc=True),
        "`positions` must be distinct",
    ),
    "symbols": (
        dict(numbers=["O", "H"], positions=[[0.0, 0, 0], [0, 0, 2]]),
        r"`numbers` must be of real numbers, got \['O', 'H'\]",
    ),
    "half an element": (dict(numbers=[8.5], positions=[[0.0, 0, 0]]), r"`numbers` must be whole, got \[8.5\]"),
    "charge in words": (
        dict(numbers=[8], positions=[[0.0, 0, 0]], charge="one"),
        "`charge` must be of real numbers, got 'one'",
    ),
    "NaN spin": (dict(numbers=[8], positions=[[0.0, 0, 0]], spin=float("nan")), "`spin` must be finite"),
    "unknown element": (dict(numbers=[8, 150], positions=[[0.0, 0, 0], [0, 0, 2]]), "`numbers` must be atomic numbers"),
    "no element": (
        dict(numbers=[8, 0, 1], positions=WATER),
        "got 0 of atom 1; a ghost atom X is no element: leave it out",
    ),
    "shape": (dict(numbers=[8], positions=[0.0, 0, 0]), r"`positions` must be \(n_atoms, 3\)"),
    "too few numbers": (dict(numbers=[8], positions=[[0.0, 0, 0], [0, 0, 2]]), r"`numbers` must be \(2,\)"),
    "no atoms": (dict(numbers=[], positions=np.zeros((0, 3))), "at least one atom"),
    "singular cell": (
        dict(numbers=[8], positions=[[0.0, 0, 0]], cell=[[5, 0, 0], [0, 5, 0], [5, 5, 0]], pbc=True),
        "independent lattice vectors",
    ),
    "zero cell": (dict(numbers=[8], positions=[[0.0, 0, 0]], pbc=True), "independent lattice vectors"),
    "infinite charge": (dict(numbers=[8], positions=[[0.0, 0, 0]], charge=float("inf")), "`charge` must be finite"),
    "index": (dict(numbers=[8, 1], positions=[[0.0, 0, 0], [0, 0, 2]], index=[1, 0]), "`index` must be"),
    "cell shape": (dict(numbers=[8], positions=[[0.0, 0, 0]], cell=np.eye(2)), "`cell` must be"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_structures(name):
    arguments, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        Structure(**arguments)


def test_from_ase_and_back():
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    structure = Structure.from_ase(atoms, charge=0.5)
    assert structure.positions[1].tolist() == pytest.approx((atoms.positions[1] * angstrom).tolist())
    back = structure.to_ase()
    assert np.allclose(back.positions, atoms.positions)
    assert np.allclose(back.cell, atoms.cell)
    assert back.info["charge"] == 0.5
    assert float(structure.volume[0]) == pytest.approx(atoms.get_volume() * angstrom**3)
    assert "bohr" in repr(structure)
    atoms = molecule("H2O")
    atoms.info["charge"] = 1
    assert float(Structure.from_ase(atoms).charge[0]) == 1
    atoms.set_initial_charges([1.0, 0, 0])
    assert float(Structure.from_ase(atoms).charge[0]) == 1
    with pytest.raises(ValueError, match=r"`charge` must be one number, got `charge` = 0, atoms.info\['charge'\] = 1"):
        Structure.from_ase(atoms, charge=0)
    atoms.info["occupancy"] = {"0": {"O": 1.0}, "1": {"H": 1}}
    assert Structure.from_ase(atoms).n_atoms == 3
    for site in ({"Na": 0.5, "K": 0.5}, {"Na": 0.9}):
        atoms.info["occupancy"] = {"0": {"O": 1.0}, "1": site}
        with pytest.raises(ValueError, match="every site occupied by one atom, got {'Na'"):
            Structure.from_ase(atoms)


def test_batch_is_its_members(structures):
    batch = structures["batch"]
    assert len(batch) == 3
    assert [s.n_atoms for s in batch] == batch.counts.tolist()
    again = Structure.batch(list(batch))
    assert torch.equal(again.positions, batch.positions)
    for model in (
        QEq(),
        Model(
            Hartree()
            + Electronegativity({"H": 0.1, "O": 0.3, "N": 0.25, "Na": 0.0, "Cl": 0.3})
            + Hardness(0.3)
            + Hardness(0.3, l=1),
            Multipoles(1, width=1.5),
        ),
    ):
        together = model(batch)
        alone = [model(s) for s in batch]
        assert torch.allclose(together.charges, torch.cat([a.charges for a in alone]), atol=1e-12)
        assert torch.allclose(together.energy, torch.cat([a.energy for a in alone]), atol=1e-12)
        assert torch.allclose(together.forces(), torch.cat([a.forces() for a in alone]), atol=1e-12)
        assert torch.allclose(together.hardness(), torch.cat([a.hardness() for a in alone]), atol=1e-12)
        assert torch.allclose(together.fukui(), torch.cat([a.fukui() for a in alone]), atol=1e-12)
        for name, energy in together.energies.items():
            assert torch.allclose(energy, torch.cat([a.energies[name] for a in alone]), atol=1e-12)
    with pytest.raises(IndexError):
        batch[3]
    with pytest.raises(ValueError, match="at least one structure"):
        Structure.batch([])


CONSTRAINTS = {
    "both of charge and potential": (lambda: TotalCharge(0.0, 0.1), "`charge` or `potential` must be left out"),
    "fragment with both": (lambda: FragmentCharge([0], 0.0, 0.1), "one of `charge` and `potential` must be given"),
    "fragment with neither": (lambda: FragmentCharge([0]), "one of `charge` and `potential` must be given"),
    "atom out of range": (
        lambda: [FragmentCharge([0, 3], 0.0), TotalCharge()],
        r"`atoms` must be from 0 to 2.*\[0, 3\]",
    ),
    "negative atom": (lambda: [FragmentCharge([-1], 0.0), TotalCharge()], "`atoms` must be from 0"),
    "no atom": (lambda: [FragmentCharge([], 0.0), TotalCharge()], "`atoms` must be a list"),
    "an atom twice": (lambda: [FragmentCharge([1, 1], 0.0), TotalCharge()], "each atom once"),
    "mask of another length": (lambda: [FragmentCharge(torch.tensor([True]), 0.0)], r"mask must be \(3,\)"),
    "overlap": (
        lambda: [FragmentCharge([0, 1], 0.1), FragmentCharge([1, 2], 0.1)],
        r"must not overlap, got fragment \[0, 1\] and fragment \[1, 2\]",
    ),
    "contradiction": (
        lambda: [FragmentCharge([0, 1, 2], 1.0), TotalCharge(0.0)],
        "must be independent, got 'total', which follows from or contradicts",
    ),
    "redundant": (
        lambda: [FragmentCharge([0], 0.0), FragmentCharge([1, 2], 0.0), TotalCharge()],
        "must be independent",
    ),
    "not covered": (lambda: [FragmentCharge([0], 0.0)], r"must cover every atom.*got none for atoms \[1, 2\]"),
    "infinite": (lambda: [TotalCharge(float("inf"))], "`charge` must be finite"),
    "shared electrodes": (lambda: [PotentialDifference([0, 1], [1, 2], 0.1)], "`first` and `second` must not share"),
    "per structure": (lambda: [TotalCharge([0.0, 1.0])], r"`charge` must be one number or \(1,\)"),
}


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_bad_constraints(name):
    make, message = CONSTRAINTS[name]
    with pytest.raises(ValueError, match=message):
        QEq().replace(constraints=make())(Structure([8, 1, 1], WATER))


def test_fragments_and_potentials():
    structure = Structure([8, 1, 1, 8, 1, 1], [*WATER, *[[x + 6.0, y + 1, z] for x, y, z in WATER]])
    model = QEq()
    split = model.replace(constraints=[FragmentCharge([0, 1, 2], 0.0), FragmentCharge([3, 4, 5], 0.0)])(structure)
    assert split.structure.total(split.charges)[0].abs() < 1e-12
    assert float(split.charges[:3].sum().abs()) < 1e-12
    v = [float(p[0]) for p in split.potentials.values()]
    battery = model.replace(constraints=[PotentialDifference([0, 1, 2], [3, 4, 5], v[0] - v[1])])(structure)
    assert torch.allclose(battery.charges, split.charges, atol=1e-10)
    held = model.replace(
        constraints=[FragmentCharge([0, 1, 2], potential=v[0], name="left"), FragmentCharge([3, 4, 5], potential=v[1])]
    )(structure)
    assert torch.allclose(held.charges, split.charges, atol=1e-10)
    assert "V left" in str(held)
    assert "grand potential" in str(held)
    more = model.replace(constraints=[PotentialDifference([0, 1, 2], [3, 4, 5], v[0] - v[1] + 0.01)])(structure)
    assert float(more.charges[:3].sum()) > 1e-4  # charge grows with V
    work = (v[0] - v[1] + 0.01) * more.charges[:3].sum()
    assert torch.allclose(more.grand_potential, more.energy - work, atol=1e-12)


def test_split_charges_between_qeq_and_nothing():
    structure = Structure([8, 1, 1], WATER, charge=0.0)
    base = QEq()
    free = base(structure).charges
    none = base.replace(ansatz=SplitCharges(hardness=0.0))(structure)
    assert torch.allclose(none.charges, free, atol=1e-10)
    stiff = base.replace(ansatz=SplitCharges(hardness={("O", "H"): 50.0, ("H", "H"): 50.0}))(structure)
    assert float(stiff.charges.abs().max()) < 0.02
    assert "Ansatz" in stiff.energies
    with pytest.raises(ValueError, match="`hardness` must have a value for every pair"):
        base.replace(ansatz=SplitCharges(hardness={("C", "H"): 1.0}))(structure)
    with pytest.raises(ValueError, match="`hardness` must be at least zero"):
        base.replace(ansatz=SplitCharges(hardness=-1.0))(structure)
    with pytest.raises(ValueError, match="`bonds` must be atoms from 0 to 2"):
        base.replace(ansatz=SplitCharges([[0, 5]]))(structure)
    with pytest.raises(ValueError, match="join atoms of one structure"):
        base.replace(ansatz=SplitCharges([[0, 4]]))(Structure.batch([structure, structure]))
    cation = Structure([8, 1, 1], WATER, charge=1.0)
    assert float(base.replace(ansatz=SplitCharges(hardness=1.0))(cation).total_charge) == pytest.approx(1.0)
    crystal = Structure.from_ase(bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    bonded = base.replace(ansatz=SplitCharges(hardness=0.0))(crystal)
    assert torch.allclose(bonded.charges, base(crystal).charges, atol=1e-9)


def test_response_modes_are_the_dual_of_a_hardness():
    """S = 1/eta gives the charges of hardness eta: p = p0 - S v, v the potential and electronegativity."""
    structure = Structure([8, 1, 1], WATER)
    eta = torch.tensor([0.5, 0.6, 0.7], dtype=D)
    chi = torch.tensor([0.3, 0.2, 0.15], dtype=D)
    primal = Model(Hartree() + Electronegativity(chi) + Hardness(eta), Multipoles(width=1.0))(structure)
    dual = Model(
        Hartree() + Electronegativity(chi), Multipoles(width=1.0), ansatz=ResponseModes(torch.diag(eta**-0.5), p0=0.0)
    )(structure)
    assert torch.allclose(primal.charges, dual.charges, atol=1e-12)
    assert torch.allclose(primal.energy, dual.energy, atol=1e-12)
    assert torch.allclose(primal.chemical_potential, dual.chemical_potential, atol=1e-12)
    insulating = torch.diag(eta**-0.5)
    insulating[0, 0] = 0.0
    still = Model(Hartree() + Electronegativity(chi), Multipoles(width=1.0), ansatz=ResponseModes(insulating))(structure)
    assert float(still.charges[0]) == 0.0
    assert float(still.charges[1].abs()) > 1e-3
    with pytest.raises(ValueError, match="`factor` must be"):
        Model(Hartree(), Multipoles(1, width=1.0), ansatz=ResponseModes(torch.eye(3)))(structure)
    with pytest.raises(ValueError, match="each belong to one structure"):
        Model(Hartree(), Multipoles(width=1.0), ansatz=ResponseModes(torch.ones(6, 1, dtype=D)))(
            Structure.batch([structure, structure])
        )


def test_fixed_shapes():
    structure = Structure([8, 1, 1], WATER)
    p0 = torch.zeros(3, 4, dtype=D)
    p0[:, 1] = 0.3
    solution = Model(Hartree(), Multipoles(1, width=1.0), ansatz=Fixed(p0))(structure)
    assert torch.equal(solution.coefficients, p0)
    with pytest.raises(ValueError, match=r"`p0` must be \(n_atoms, size\) = \(3, 1\)"):
        Model(Hartree(), Multipoles(width=1.0), ansatz=Fixed(p0))(structure)
    with pytest.raises(ValueError, match=r"`coefficients` must be \(3, 1\)"):
        Density(structure, Multipoles(width=1.0), p0)


def test_field_of_another_shape():
    with pytest.raises(ValueError, match="`field` must be finite"):
        UniformField((0.0, 0.01))


def test_model_refuses_what_it_is_not():
    with pytest.raises(TypeError, match="`functional` must be a Functional"):
        Model("qeq", Multipoles(width=1.0))
    with pytest.raises(TypeError, match="`basis` must be a Multipoles"):
        Model(Hartree(), basis=1.0)
    with pytest.raises(TypeError, match="`constraints` must be Constraint objects"):
        Model(Hartree(), Multipoles(width=1.0), constraints=[0.0])
    with pytest.raises(TypeError, match="`solver` must be a Solver, such as cgdft.solvers.Newton"):
        Model(Hartree(), Multipoles(width=1.0), solver="cg")
    with pytest.raises(TypeError, match="`terms` must be cgdft.Term objects"):
        from cgdft import Functional

        Functional([lambda rho: 0.0])
    with pytest.raises(TypeError):
        QEq() + 1.0


@cgdft.term
def nothing(rho, k=0.1):
    """Forgets to return its energy."""
    rho.total(k * rho.charges**4)


@cgdft.term
def quartic(rho, k=0.1):
    """E = sum_i k q_i^4."""
    return rho.total(k * rho.charges**4)


def test_what_a_model_is_called_with():
    water = Structure.from_ase(molecule("H2O"))
    for atoms in ("water.xyz", iter([molecule("H2O")]), None):
        with pytest.raises(TypeError, match="`atoms` must be ASE Atoms or a list of them, got "):
            Structure.from_ase(atoms)
    with pytest.raises(TypeError, match="`structure` must be a cgdft.Structure, got Atoms; see Structure.from_ase"):
        QEq()(molecule("H2O"))
    with pytest.raises(ValueError, match=r"`start` must be \(n_atoms,\) = \(3,\), got shape \(7,\)"):
        QEq()(water, start=torch.zeros(7, dtype=D))
    with pytest.raises(ValueError, match="`nothing` must return a tensor of one energy for each structure.*got NoneType"):
        (QEq() + nothing())(water)
    with torch.inference_mode(), pytest.raises(RuntimeError, match=r"use torch.no_grad\(\)"):
        QEq()(water)
    with pytest.raises(ValueError, match="`charge` must be of real numbers, got 'one'"):
        QEq().replace(constraints=[TotalCharge("one")])(water)
    for solver in (CG, Newton, FixedPoint):
        with pytest.raises(ValueError, match="`tolerance` must be between 0 and 1, got 10.0"):
            solver(tolerance=10.0)
        for wrong in (1.5, None, -1):
            with pytest.raises(ValueError, match=f"`max_iterations` must be a whole number, zero or more, got {wrong}"):
                solver(max_iterations=wrong)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))], ids=["copy", "pickle"])
def test_solutions_are_copied_with_all_they_can_tell(copied, grad):
    water = Structure.from_ase(molecule("H2O"))
    atoms = molecule("H2O")
    atoms.calc = CGDFT(QEq())
    with torch.set_grad_enabled(grad):
        still = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
        solution = QEq()(water.deformed(still, torch.zeros(1, 3, 3, dtype=torch.float64)))
        forces, charges = solution.forces(), solution.charges
        for _ in range(2):
            solution = copied(solution)
            assert torch.allclose(solution.charges, charges, atol=1e-14)
            assert torch.allclose(solution.forces(), forces, atol=1e-12)
            assert solution.polarizability().shape == (1, 3, 3)
    energy = atoms.get_potential_energy()
    assert copied(atoms).get_potential_energy() == pytest.approx(energy, abs=1e-12)


def test_models_with_terms_of_functions_are_pickled():
    water = Structure.from_ase(molecule("H2O"))
    model = QEq() + quartic(k={"O": 0.2, "H": 0.1})
    assert torch.equal(pickle.loads(pickle.dumps(model))(water).charges, model(water).charges)


@pytest.mark.parametrize("moments", [[2.0, 0.0], [-2.0, 0.0], [[0.0, 1.0, 0.0], [0.0, 0.0, 3**0.5]]])
def test_unpaired_electrons_are_the_size_of_all_moments_together(moments):
    """Which way they point is a convention; they may point anywhere."""
    assert Structure.from_ase(Atoms("O2", [[0, 0, 0], [0, 0, 1.2]], magmoms=moments)).spin.item() == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Hartree(accuracy="1e-6"), "`accuracy` must be between 1e-15 and 1, got '1e-6'"),
        (lambda: Pairwise(10.0, 0.5, cutoff="7"), "`cutoff` must be greater than zero, got '7'"),
        (lambda: Hardness("0.4"), "`eta` must be a number, .* got '0.4'"),
        (lambda: UniformField("x"), "`field` must be of real numbers, got 'x'"),
        (lambda: Model(Hartree(), Multipoles(width=1.0), constraints=TotalCharge()), "`constraints` must be a list"),
        (lambda: Structure.batch([molecule("H2O")]), "`structures` must be cgdft.Structure objects, got Atoms"),
        (
            lambda: QEq().replace(constraints=[FragmentCharge(["O"], 0.1)])(Structure.from_ase(molecule("H2O"))),
            r"`atoms` must be of real numbers, got \['O'\]",
        ),
    ],
)
def test_things_of_another_kind_are_named(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_handedness_of_cells_changes_nothing():
    right = bulk("NaCl", "rocksalt", a=5.64)
    right.rattle(0.1, seed=1)
    left = right.copy()
    left.set_cell(right.cell[[1, 0, 2]])
    one, two = (QEq()(Structure.from_ase(atoms)) for atoms in (right, left))
    assert float(two.structure.volume) > 0
    for name in ("energy", "charges"):
        torch.testing.assert_close(getattr(one, name), getattr(two, name), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(one.stress(), two.stress(), rtol=1e-9, atol=1e-12)


def test_which_of_a_list_is_wrong():
    water, wrong = molecule("H2O"), molecule("H2O")
    wrong.positions[1] = wrong.positions[0]
    with pytest.raises(ValueError, match=r"number 2 of the list \(H2O\): `positions` must be distinct"):
        Structure.from_ase([water, water, wrong])


def test_places_follow_the_index_whoever_asks_first():
    """Within an inference or a transform of torch too; of parts, batches and copies their own."""
    batch = Structure.from_ase([molecule("H2O"), molecule("CH3OH")])
    with torch.inference_mode():
        assert batch.counts.tolist() == [3, 6]
    weigh = torch.func.grad(lambda v: (v * batch.local).sum())
    assert weigh(torch.ones(9, dtype=torch.float64)).tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5]
    assert len(QEq()(batch).charges) == 9
    for one, counts in ((batch[1], [6]), (Structure.batch([batch[1], batch]), [6, 3, 6]), (copy.deepcopy(batch), [3, 6])):
        assert one.counts.tolist() == counts
        assert one.first.tolist() == np.cumsum([0, *counts[:-1]]).tolist()
        assert one.local.tolist() == [k for n in counts for k in range(n)]
