"""QTPIE against the author's implementation in Open Babel, and its limit at infinity."""

import math

import pytest
import torch
from ase.build import bulk, molecule

from cgdft import Model, Multipoles, Structure, check_term
from cgdft.functionals import QTPIE, Attenuated, Electronegativity, Hardness, Hartree, QEq
from cgdft.functionals.models.qeq import PARAMETERS
from cgdft.functionals.models.qtpie import WIDTH
from cgdft.units import angstrom

D = torch.float64

# charges of the first atoms, e, computed once with Open Babel 3.1.0 (charge model `qtpie`), its radii (angstrom) and its units
COMPUTED = {
    "H2O": [-1.39954408, 0.69977204, 0.69977204],
    "CH3OH": [0.49737252, -0.93845272, 0.02478815, 0.6718879],
    "NaCl": [0.53816653, -0.53816653],
    "SiH4": [0.7289663, -0.18224158],
    "CH3Cl": [-0.40819898, -0.12138282, 0.17652725],
    "HCN": [0.33589168, -0.24911054, -0.08678113],
    "LiF": [0.4360623, -0.4360623],
}
RADIUS = {
    "H": 0.8271,
    "Li": 2.4076,
    "C": 1.1346,
    "N": 0.9770,
    "O": 0.8597,
    "F": 0.7686,
    "Na": 2.5020,
    "Si": 1.6474,
    "Cl": 1.1615,
}
EV, ANGSTROM = 3.67493245e-2, 1 / 0.529177249


@pytest.mark.parametrize("where", ["water", "cation", "triclinic", "charged cell", "slab", "wire", "batch"])
def test_term(structures, where):
    chi = {"H": 0.17, "C": 0.2, "N": 0.26, "O": 0.31, "Na": 0.1, "Cl": 0.3}
    check_term(Electronegativity(Attenuated(chi, width=1.1)), structures[where])
    check_term(
        Electronegativity(Attenuated(chi, {**dict.fromkeys(chi, 0.9), "O": 1.2})), structures[where], Multipoles(1, width=1.0)
    )


@pytest.mark.parametrize("name", COMPUTED)
def test_charges_of_open_babel(name):
    """With its digits to 5e-7 (it reads radii in single precision); the model itself has all digits of them, hence 6e-4."""
    atoms = molecule(name)
    chi, hardness = ({element: row[k] * EV for element, row in PARAMETERS.items()} for k in (0, 1))
    width = {element: radius * ANGSTROM / math.sqrt(2) for element, radius in RADIUS.items()}
    model = Model(
        Hartree(self_interaction=False) + Hardness(hardness) + Electronegativity(Attenuated(chi, width)),
        Multipoles(width=width),
    )
    known = COMPUTED[name]
    found = model(Structure(torch.from_numpy(atoms.numbers), torch.from_numpy(atoms.positions * ANGSTROM))).charges
    assert found[: len(known)].tolist() == pytest.approx(known, abs=5e-7)
    assert QTPIE()(Structure.from_ase(atoms)).charges[: len(known)].tolist() == pytest.approx(known, abs=6e-4)


def test_no_charge_passes_at_infinity():
    far = Structure([11, 17], [[0.0, 0, 0], [0, 0, 50 * angstrom]])
    solution = QTPIE()(far)
    assert solution.charges.tolist() == [0.0, 0.0]
    assert solution.forces().abs().max() == 0.0
    assert float(QEq()(far).charges[0]) > 0.4
    charges = [float(QTPIE()(Structure([11, 17], [[0.0, 0, 0], [0, 0, r]])).charges[0]) for r in (4.5, 8.0, 12.0, 20.0)]
    assert charges == sorted(charges, reverse=True)
    assert charges[0] > 0.5
    assert 0.0 < charges[3] < 1e-4


def test_overlap_and_hardness():
    """Two atoms by hand: the overlap integral on a grid, and the self-interaction that is the hardness."""
    r, w = 2.5, (0.8, 1.3)
    z = torch.linspace(-12.0, 14.0, 20001, dtype=D)
    orbital = [
        (math.pi * width**2) ** -0.25 * torch.exp(-((z - at) ** 2) / (2 * width**2))
        for width, at in zip(w, (0.0, r), strict=True)
    ]
    along = float((orbital[0] * orbital[1]).sum() * (z[1] - z[0]))
    across = math.sqrt(2 * w[0] * w[1] / (w[0] ** 2 + w[1] ** 2))
    overlap = along * across**2
    pair = Structure([1, 8], [[0.0, 0, 0], [0, 0, r]])
    chi = Attenuated({"H": 0.2, "O": 0.3}, width={"H": w[0], "O": w[1]})
    expected = 0.1 * overlap / (1 + overlap)
    assert chi(pair).tolist() == pytest.approx([-expected, expected], rel=1e-10)
    hydrogen = Structure([1], [[0.0, 0, 0]])
    assert float(QTPIE()(hydrogen).hardness()) == pytest.approx(PARAMETERS["H"][1] / 27.211386245981, rel=1e-12)
    assert WIDTH["H"] * math.sqrt(2) / angstrom == pytest.approx(RADIUS["H"], abs=1e-4)


def test_a_cell_is_its_double():
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.1, seed=2)
    one, two = QTPIE()(Structure.from_ase(atoms)), QTPIE()(Structure.from_ase(atoms.repeat((1, 1, 2))))
    assert float((torch.cat([one.charges, one.charges]) - two.charges).abs().max()) < 1e-10
    assert torch.allclose(one.stress(), two.stress(), atol=1e-12, rtol=0)
    assert float(one.charges.abs().max()) > 0.05
