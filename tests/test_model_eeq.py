"""EEQ against tad-multicharge, an implementation by the authors' group; and its coordination number."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.collections import g2

from cgdft import Structure
from cgdft.functionals import EEQ, CoordinationNumber
from cgdft.functionals.models.eeq import HARDNESS, PARAMETERS
from cgdft.functionals.parameters.coordination_number import COVALENT, near_pairs
from cgdft.units import angstrom

D = torch.float64

# charges of the first atoms (e), energy (hartree) and force on the last atom (hartree / bohr), computed once with
# tad-multicharge 0.7.0 and its own coordination number; there the bohr of the radii is an older one, hence 1e-8
COMPUTED = {
    ("H2O", 0): ([-0.586390685, 0.293195343], -0.0633290949, [0.0, 0.016994054, 0.021348548]),
    ("CH3OH", 1): ([0.073732006, -0.212326352, 0.266843382], 1.4114124568, [0.004034843, 0.002287203, -0.00987044]),
    ("NaCl", 0): ([0.581076437, -0.581076437], -0.1992725509, [0.0, 0.0, -0.014941353]),
    ("SiF4", -1): ([0.430349966, -0.357587491], -1.2801884519, [0.000921102, -0.000921102, -0.000921102]),
    ("C6H6", 0): ([-0.104382918, -0.104382885], -0.0338482441, [0.001809092, -0.001044479, 0.0]),
}


@pytest.mark.parametrize(("name", "charge"), COMPUTED)
def test_numbers_of_tad_multicharge(name, charge):
    charges, energy, force = COMPUTED[name, charge]
    solution = EEQ()(Structure.from_ase(molecule(name), charge=charge))
    assert solution.charges[: len(charges)].tolist() == pytest.approx(charges, abs=1e-8)
    assert float(solution.energy) == pytest.approx(energy, abs=1e-8)
    assert solution.forces()[-1].tolist() == pytest.approx(force, abs=1e-8)


def test_documented_example():
    """The one of tad-multicharge's manual: ammonia with whole coordination numbers, float32, four digits."""
    positions = torch.tensor(
        [
            [0.0, 0.0, -0.54524837997150],
            [-0.88451840382282, 1.53203081565085, 0.18174945999050],
            [-0.88451840382282, -1.53203081565085, 0.18174945999050],
            [1.76903680764564, 0.0, 0.18174945999050],
        ],
        dtype=D,
    )

    class Whole(torch.nn.Module):
        def forward(self, structure):
            return torch.where(structure.numbers == 7, 3.0, 1.0).to(D)

    solution = EEQ(Whole())(Structure([7, 1, 1, 1], positions))
    assert (-solution.forces()[:, 2]).tolist() == pytest.approx([-0.0481, 0.0160, 0.0160, 0.0160], abs=6e-5)
    assert float(-solution.chemical_potential) == pytest.approx(1.2625, abs=6e-5)


def test_molecules_of_g2():
    """Charges, energies and gradients of 20 molecules, neutral and charged."""
    from tad_mctc.io.structure import Structure as Other
    from tad_mctc.ncoord import cn_eeq
    from tad_multicharge.model import eeq

    for name in [name for name in sorted(g2.names) if len(g2[name]) > 1][::7][:20]:
        for charge in (0.0, 1.0, -1.0):
            structure = Structure.from_ase(molecule(name), charge=charge)
            positions = structure.positions.clone().requires_grad_()
            other = Other(numbers=structure.numbers, positions=positions, charge=torch.tensor(charge, dtype=D))
            charges, energies = eeq.get_eeq(other, return_energy=True)
            (gradient,) = torch.autograd.grad(energies.sum(), positions)
            number, solution = CoordinationNumber()(structure), EEQ()(structure)
            for got, expected in (
                (number, cn_eeq(other)),
                (solution.charges, charges),
                (solution.energy, energies.sum()),
                (solution.forces(), -gradient),
            ):
                assert float((got - expected).detach().abs().max()) < 1e-8, name


def test_parameters():
    assert list(PARAMETERS) == list(COVALENT) == list(HARDNESS)
    assert len(PARAMETERS) == 86
    assert PARAMETERS["H"] == (1.23695041, 0.0491611, -0.35015861, 0.55159092)  # gamma of hydrogen is negative
    assert min(HARDNESS.values()) > 0.28  # hardness is not


def test_a_cell_is_its_double():
    """Images count: rock salt, displaced, as a cell and as two of them."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.1, seed=2)
    one, two = EEQ()(Structure.from_ase(atoms)), EEQ()(Structure.from_ase(atoms.repeat((1, 1, 2))))
    assert float((torch.cat([one.charges, one.charges]) - two.charges).abs().max()) < 1e-10
    assert float(2 * one.energy) == pytest.approx(float(two.energy), abs=1e-10)
    assert torch.allclose(one.stress(), two.stress(), atol=1e-12, rtol=0)


def test_coordination_number_counts_images():
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.rattle(0.1, seed=2)
    radius = [COVALENT["Na"], COVALENT["Cl"]]
    for i, found in enumerate(CoordinationNumber()(Structure.from_ase(atoms)).tolist()):
        count = 0.0
        for shift in product(range(-5, 6), repeat=3):
            for j in range(2):
                r = np.linalg.norm(atoms.positions[i] - atoms.positions[j] + shift @ atoms.cell.array)
                if r > 1e-6:
                    count += 0.5 * math.erfc(7.5 * (r / (4 / 3 * (radius[i] + radius[j])) - 1))
        assert 4 < count < 12
        assert found == pytest.approx(math.log(1 + math.exp(8)) - math.log(1 + math.exp(8 - count)), abs=1e-9)


def test_coordination_number():
    water = Structure.from_ase(molecule("H2O"))
    assert CoordinationNumber(maximum=None)(water)[0] == pytest.approx(2.0, abs=0.03)
    many = Structure.from_ase(Atoms("Ar13", bulk("Ar", "fcc", a=3.0).repeat((5, 5, 5)).get_positions()[:13]))
    assert float(CoordinationNumber()(many).max()) < 8 + 1e-3  # ln(1 + e^m) at most
    assert float(CoordinationNumber(maximum=None)(many).max()) > float(CoordinationNumber()(many).max())
    batch = Structure.batch([water, many, water])
    assert torch.equal(CoordinationNumber()(batch)[:3], CoordinationNumber()(water))
    assert len(near_pairs(batch, 1.2 * angstrom)[0]) == 8  # both orders of two bonds, twice

    def number(strain, displacement):
        cell = Structure.from_ase(bulk("MgO", "rocksalt", a=4.2, cubic=True))
        return CoordinationNumber()(cell.deformed(displacement, strain))

    given = (torch.zeros(1, 3, 3, dtype=D, requires_grad=True), 0.1 * torch.randn(8, 3, dtype=D).requires_grad_())
    assert torch.autograd.gradcheck(number, given, fast_mode=True)
    assert torch.autograd.gradgradcheck(number, given, fast_mode=True)
    with pytest.raises(ValueError, match="`steepness` must be greater than zero"):
        CoordinationNumber(steepness=0.0)
    with pytest.raises(ValueError, match="`maximum` must be greater than zero"):
        CoordinationNumber(maximum=-1.0)


def test_an_atom_alone():
    """Without neighbours the root of the coordination number is zero, and so are forces."""
    atom = EEQ()(Structure([6], [[0.0, 0.0, 0.0]], charge=0.0))
    assert atom.forces().tolist() == [[0.0, 0.0, 0.0]]
    pair = EEQ()(Structure([11, 17], [[0.0, 0, 0], [0, 0, 60.0]]))
    assert torch.isfinite(pair.forces()).all()
    assert torch.isfinite(pair.born_charges()).all()
