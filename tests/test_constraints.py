"""What is fixed and held: each atom once, names of its own, all in all the charge of the structure."""

import pytest
import torch
from ase import Atoms
from ase.build import molecule

from cgdft import Constraint, FragmentCharge, Model, Multipoles, PotentialDifference, Row, SolverError, Structure, TotalCharge
from cgdft.ase import CGDFT
from cgdft.functionals import Electrodes, Electronegativity, Hardness, Hartree, QEq, UniformField

D = torch.float64
PAIR = Structure([79, 79], [[0, 0, 0], [0, 0, 200.0]])
PLATES = [[i * 5.0, j * 5.0, z] for z in (0, 20.0, 40.0) for i in (0, 1) for j in (0, 1)]


def metal(*constraints, hardness=0.3):
    return Model(Hartree() + Hardness(hardness), Multipoles(width=1.2), constraints=list(constraints))


def slab(n=12, charge=0.0, ion=()):
    cell = torch.diag(torch.tensor([10.0, 10.0, 0.0], dtype=D))
    return Structure([79] * n + [11] * len(ion), [*PLATES[:n], *ion], cell, [True, True, False], charge)


def test_potentials_in_batches_are_those_alone():
    """Of a fragment that only one structure of a batch has; NaN for the others."""
    pair = Structure.from_ase(molecule("H2"))
    salt = Structure.from_ase(molecule("NaCl"))
    model = Model(Hartree() + Electronegativity({"H": 0.2, "Na": 0.1, "Cl": 0.3}) + Hardness(0.5), Multipoles(width=1.0))

    def held(charge):
        sodium = FragmentCharge(lambda structure: structure.numbers == 11, charge, name="sodium")
        return model.replace(constraints=[sodium, TotalCharge()])

    both, alone = held(torch.tensor([0.0, 0.3], dtype=D))(Structure.batch([pair, salt])), held(0.3)(salt)
    assert torch.isnan(both.potentials["sodium"][0])
    assert float(both.potentials["sodium"][1]) == pytest.approx(float(alone.potentials["sodium"]), abs=1e-12)
    assert torch.allclose(both.potentials["total"][1], alone.potentials["total"][0])


def test_constraints_have_names_of_their_own():
    atoms = molecule("H2O") + Atoms("Na", [[5, 0, 0]]) + Atoms("Cl", [[0, 6, 0]])
    held = [FragmentCharge(lambda s: s.numbers == 11, 1.0), FragmentCharge(lambda s: s.numbers == 17, -1.0), TotalCharge()]
    found = QEq().replace(constraints=held)(Structure.from_ase(atoms))
    assert set(found.potentials) == {"fragment lambda", "fragment lambda 2", "total"}
    with pytest.raises(ValueError, match="`name` must not be that of another constraint, got 'total'"):
        FragmentCharge([0], 1.0, name="total")


def test_a_charge_that_is_asked_for_is_not_dropped():
    model = QEq().replace(constraints=[FragmentCharge([0, 1], 0.0), FragmentCharge([2], 0.0)])
    assert float(model(Structure.from_ase(molecule("H2O"))).total_charge) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="add up to the charge of the structure, got fixed charges of 0 e in all and one of 1"):
        model(Structure.from_ase(molecule("H2O"), charge=1))
    atoms = molecule("H2O")
    atoms.calc = CGDFT(QEq().replace(constraints=[TotalCharge(0.0)]), charge=1.0)
    with pytest.warns(UserWarning, match="add up to .* e in place of 1 e: its constraints say so"):
        atoms.get_potential_energy()


@pytest.mark.parametrize("charge", [0.0, 1.0])
def test_electrodes_have_what_the_rest_leaves(charge):
    model = Electrodes(range(4), range(4, 8), 0.1, rest=[FragmentCharge([8], 1.0)])
    solution = model(slab(8, charge, ion=[[2.0, 2.0, 10.0]]))
    assert float(solution.total_charge) == pytest.approx(charge, abs=1e-10)
    assert float(solution.charges[8]) == pytest.approx(1.0)


def test_potentials_are_those_of_the_atoms():
    """V = dE/dq; within a fixed charge, less that of the rest of it."""

    def slopes(*constraints):
        solution = metal(*constraints)(PAIR)
        return (solution.hardness_matrix()[0] @ solution.charges).tolist()

    assert slopes(FragmentCharge([0], potential=0.1), FragmentCharge([1], potential=0.3)) == pytest.approx([0.1, 0.3])
    one, other = slopes(FragmentCharge([0], potential=0.1), TotalCharge(0.0))
    assert one - other == pytest.approx(0.1)


@pytest.mark.parametrize(
    "constraints",
    [
        [TotalCharge(potential=0.1), FragmentCharge([0], potential=0.1)],
        [FragmentCharge([0], potential=0.1), FragmentCharge([0], potential=0.25), FragmentCharge([1], 0.0)],
        [FragmentCharge([0], potential=0.1), FragmentCharge([0], 1.0), FragmentCharge([1], 0.0)],
        [FragmentCharge([0], potential=0.1), PotentialDifference([0], [1], 0.1)],
        [TotalCharge(potential=0.1), PotentialDifference([0], [1], 0.1)],
    ],
)
def test_no_atom_has_two_potentials(constraints):
    with pytest.raises(ValueError, match="must say of each atom one potential( or one charge)?, got (fragment|total)"):
        metal(*constraints)(PAIR)


@pytest.mark.parametrize(
    "constraints",
    [
        [PotentialDifference([0], [1], 0.1), FragmentCharge([0], charge=0.3)],
        [TotalCharge(potential=0.1), FragmentCharge([0], charge=0.3), FragmentCharge([1], charge=-0.3)],
        [TotalCharge(), FragmentCharge([0], charge=0.3), FragmentCharge([1], potential=0.1)],
    ],
)
def test_a_potential_of_what_cannot_change(constraints):
    """Charges would not depend on it, nor the potential difference be what was given."""
    with pytest.raises(
        ValueError, match="`potential` must be of a charge that other constraints let change, got .* which follows"
    ):
        metal(*constraints)(PAIR)


def test_a_pair_has_a_name():
    found = metal(PotentialDifference([0], [1], 0.1, name="plates"))(PAIR).potentials
    assert set(found) == {"both of plates", "between plates"}


def test_what_to_do_with_slabs_and_three_electrodes_is_said():
    free = metal(FragmentCharge(range(4), potential=0.1), FragmentCharge(range(4, 12), potential=-0.1), hardness=0.01)
    with pytest.raises(SolverError, match=r"charged slab or wire has no zero; add TotalCharge\(\)"):
        free(slab())
    two = [PotentialDifference(range(4), range(4, 8), 0.1), PotentialDifference(range(4), range(8, 12), 0.1)]
    with pytest.raises(ValueError, match=r"share atoms in part; several electrodes are a FragmentCharge\(potential"):
        metal(*two)(slab())
    three = [FragmentCharge(range(4), potential=0.1), FragmentCharge(range(4, 8), potential=-0.1), TotalCharge()]
    assert float(metal(*three, hardness=0.01)(slab()).total_charge) == pytest.approx(0.0, abs=1e-10)
    both = [PotentialDifference([0], [1], 0.1), PotentialDifference([2], [3], 0.1)]
    with pytest.raises(ValueError, match=r"`charge` must be given, of both of \[0\] and \[1\] and both of \[2\] and \[3\]"):
        metal(*both)(slab(4))


def test_a_linear_charge_beside_a_potential():
    """The dipole of a structure held at a field, and its charge at a potential, are different things: as in the field."""

    class Field(Constraint):
        def rows(self, structure, basis):
            weights = basis.padded(structure.positions[:, 2:].clone())
            return [Row("dipole", weights, potential=structure.charge.new_full((len(structure),), 0.01))]

    water = Structure.from_ase(molecule("H2O"))
    held = QEq().replace(constraints=[TotalCharge(potential=0.1), Field()])(water)
    driven = (QEq().at_potential(0.1) + UniformField([0.0, 0.0, 0.01]))(water)
    assert torch.allclose(held.charges, driven.charges, atol=1e-12)


def test_a_row_that_a_constraint_keeps_may_change_its_weights():
    """What a solve has found out of it is not believed in the next."""

    class Kept(Constraint):
        def __init__(self, weights):
            self.row = Row(
                "mine", torch.tensor(weights, dtype=torch.float64)[:, None], torch.full((1,), 0.3, dtype=torch.float64)
            )

        def rows(self, structure, basis):
            return [self.row]

    def charges(kept):
        return QEq().replace(constraints=[FragmentCharge([1, 2], 0.1), kept])(water).charges

    water, changed = Structure.from_ase(molecule("H2O")), Kept([1.0, 0.0, 0.0])
    charges(changed)
    changed.row.weights[:, 0] = torch.tensor([0.5, 0.5, 0.0])
    assert torch.equal(charges(changed), charges(Kept([0.5, 0.5, 0.0])))
