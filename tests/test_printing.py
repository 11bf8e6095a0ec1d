"""What a solution says of itself."""

import pytest
import torch
from ase import Atoms
from ase.build import molecule

from cgdft import Model, Multipoles, ResponseModes, Structure
from cgdft.functionals import Electronegativity, Hardness, Hartree, QEq
from cgdft.units import angstrom, eV


def test_solution_prints_itself_and_goes_to_ase(structures):
    water = QEq()(Structure.from_ase(molecule("H2O")))
    text = str(water)
    for word in ("charge (e)", "hartree", "Electronegativity", "chemical potential", "e bohr", "Direct"):
        assert word in text
    atoms = water.to_atoms()
    assert isinstance(atoms, Atoms)
    assert atoms.get_charges() == pytest.approx(water.charges.tolist())
    full = Model(QEq().functional + Hardness(0.2, l=1) + Hardness(0.2, l=2), Multipoles(2, width=1.6))
    solution = full(Structure.from_ase(molecule("H2O")))
    atoms = solution.to_atoms()
    assert atoms.arrays["dipoles"] == pytest.approx(solution.dipoles.numpy() / angstrom)
    assert atoms.arrays["quadrupoles"] == pytest.approx(solution.quadrupoles.numpy() / angstrom**2)
    assert atoms.get_potential_energy() == pytest.approx(float(solution.energy[0]) / eV)
    batch = QEq()(structures["batch"])
    assert str(batch).count("CONVERGED") == 3
    assert "CONVERGED" in repr(batch)


def test_what_is_printed_as_chemical_potential_is_it():
    """Reference charges that share the total one make it differ from the potential of what is minimised."""
    model = Model(
        Hartree() + Electronegativity({"H": 0.2, "O": 0.3}),
        Multipoles(width=1.0),
        ResponseModes(torch.diag(torch.tensor([1.4, 1.0, 1.0], dtype=torch.float64))),
    )
    solution = model(Structure.from_ase(molecule("H2O"), charge=0.4))
    lines = [line.rsplit(maxsplit=2) for line in str(solution).splitlines() if " hartree" in line]
    printed = {name.strip(): value for name, value, _ in lines}
    step = [float(model(Structure.from_ase(molecule("H2O"), charge=0.4 + h)).energy) for h in (-1e-4, 1e-4)]
    assert float(printed["chemical potential"]) == pytest.approx(-(step[1] - step[0]) / 2e-4, abs=1e-6)
    assert float(printed["V total"]) == pytest.approx(float(solution.potentials["total"]), abs=1e-7)
    assert abs(float(printed["V total"]) + float(printed["chemical potential"])) > 0.01
    assert "V total" not in str(QEq()(Structure.from_ase(molecule("H2O"))))


def test_what_has_changed_is_printed_still():
    """With the potential, which the solve found; the chemical potential would be of now."""
    structure = Structure.from_ase(molecule("H2O"))
    with torch.no_grad():
        solution = QEq()(structure)
    assert "chemical potential" in str(solution)
    structure.positions[0, 0] += 0.01
    assert f"V total {float(solution.potentials['total'][0]):.8f} hartree/e" in " ".join(str(solution).split())
