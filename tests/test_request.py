"""What is asked of a reference: mistakes are named, charges found, keys distinct."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from cgdft.validation.definitions import MBIS, ESPFit
from cgdft.validation.dft.reference import reference
from cgdft.validation.dft.request import Request

FIELD = (0.003, 0.01, -0.005)


def water():
    return molecule("H2O")


@pytest.mark.parametrize(
    ("atoms", "settings", "message"),
    [
        (Atoms("OH", [[0, 0, 0], [0, 0, 1]]), {}, "`spin` must be given for an odd number .* 9 electrons .* spin=1"),
        (Atoms("OH", [[0, 0, 0], [0, 0, 1]]), {"spin": 2}, "`spin` must be the odd number .* 9 electrons"),
        (water(), {"spin": 1}, "`spin` must be the even number"),
        (Atoms("H"), {"charge": 1}, "`charge` must leave at least one electron"),
        (Atoms("He", info={"charge": 1}), {"charge": 0}, r"`charge` must be one number, got .* atoms.info\['charge'\] = 1"),
        (Atoms("He", charges=[0.5]), {}, "`charge` must be a whole number .* got 0.5"),
        (Atoms("He", pbc=True), {}, "`atoms` must have three cell vectors .* atoms.pbc = False"),
        (Atoms("He", cell=[9, 9, 9], pbc=True), {"field": FIELD}, "`field` is for molecules"),
        (Atoms("He", cell=[9, 9, 9], pbc=True), {"response": True}, "`polarizability` and `response` are for molecules"),
        (Atoms("He", cell=[9, 9, 9], pbc=True), {"definitions": [MBIS()]}, "`definitions` of a periodic cell"),
        (Atoms("He", cell=[9, 9, 9], pbc=True), {}, "`basis` must be a GTH basis"),
        (water(), {"smearing": 0.01}, "`polarizability` and `response` need whole occupations"),
        (water(), {"definitions": []}, "`definitions` must be a list of at least one"),
        (water(), {"definitions": [MBIS()], "response": True}, "`response` needs a first definition that is linear"),
        (water(), {"definitions": [ESPFit(), ESPFit()]}, "`definitions` must differ"),
        (Atoms("He", [[np.nan, 0, 0]]), {}, "`atoms` must have finite positions"),
        (Atoms("HeHe", [[0, 0, 0], [0, 0, 0.01]]), {}, "`atoms` must be at least 0.1 bohr apart, got 0.0189"),
        (Atoms("He", cell=[0.2, 5, 5], pbc=True), {}, "must have lattice vectors of at least 1.0 bohr, got one of 0.378 bohr"),
        (Atoms("He"), {"field": "abc"}, r"`field` must be three finite numbers in hartree/\(e bohr\), got 'abc'"),
        (Atoms("X"), {}, r"`atoms` must be made of known elements, got atomic numbers \[0\]"),
        (Atoms(), {}, "`atoms` must hold at least one atom"),
        (water(), {"field": (1, 2)}, "`field` must be three finite numbers"),
        (water(), {"method": "pbe"}, "`method` must be 'xc/basis'.* got 'pbe'"),
        (water(), {"method": "nope/def2-svp"}, "`method` must be .* no functional 'nope'"),
        (water(), {"method": "pbe/nope"}, "`method` must be .* no basis 'nope' for H, O"),
        (Atoms("Cm"), {}, "`method` must be .* no basis 'def2-svp' for Cm"),
    ],
)
def test_bad_input_is_named(atoms, settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        reference(atoms, cache=tmp_path, **settings)


@pytest.mark.parametrize(
    ("file", "atoms", "method"),
    [
        ("def2-svp", Atoms("H2", [[0, 0, 0], [0, 0, 0.7]]), "pbe/def2-svp"),
        ("def2-universal-jfit", Atoms("H2", [[0, 0, 0], [0, 0, 0.7]]), "pbe/def2-svp"),
        ("ano", Atoms("H2", [[0, 0, 0], [0, 0, 0.7]]), "pbe/def2-svp"),
        ("gth-szv", Atoms("He", cell=[9, 9, 9], pbc=True), "pbe/gth-szv"),
        ("gth-pbe", Atoms("He", cell=[9, 9, 9], pbc=True), "pbe/gth-szv"),
    ],
)
def test_a_file_is_not_taken_for_a_basis(file, atoms, method, tmp_path, monkeypatch):
    """PySCF reads a file of that name in its place, and evaluates what is in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).write_text("H    S\n   0.4   open('ran', 'w')\n")
    with pytest.raises(ValueError, match=f"`{file}` must be a name known to PySCF, got that of a file in this folder"):
        reference(atoms, method=method, cache=tmp_path / "cache")
    assert not (tmp_path / "ran").exists()


def test_charge_is_found():
    def charge(atoms, **settings):
        return Request.from_atoms(atoms, "pbe/def2-svp", spin=0, **settings).charge

    assert charge(Atoms("He", info={"charge": -2})) == -2
    assert charge(Atoms("LiF", [[0, 0, 0], [0, 0, 2]], charges=[1.2, 0.8])) == 2
    assert charge(Atoms("He"), charge=-2) == -2
