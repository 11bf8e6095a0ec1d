"""Files of several structures on the command line: which are taken, which failed, what is written."""

import json

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.io import read, write
from command import run

from cgdft.ase import CGDFT
from cgdft.functionals import QEqDipoles
from cgdft.units import angstrom

SDF = """{name}
  made by hand

  3  2  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.1173 O   0  0
    0.0000    0.7572   -0.4692 H   0  0
    0.0000   -0.7572   -0.4692 H   0  0
  1  2  1  0
  1  3  1  0
{charge}M  END
$$$$
"""


def test_molecules_of_an_sdf_file_and_their_charges(capsys, tmp_path):
    """All of them, where ASE reads the first one and no charges; and which one is taken is told."""
    charged = SDF.format(name="ion", charge="M  CHG  1   1   1\n")
    (tmp_path / "two.sdf").write_text(charged + SDF.format(name="water", charge=""))
    _, out, _ = run(capsys, "solve", tmp_path / "two.sdf", "--model", "eeq", "--index", ":", "--json")
    assert [one["total_charge"] for one in json.loads(out)] == pytest.approx([1.0, 0.0], abs=1e-9)
    _, out, err = run(capsys, "solve", tmp_path / "two.sdf", "--model", "eeq", "--json")
    assert json.loads(out)["total_charge"] == pytest.approx(0.0, abs=1e-9)
    assert "the last of several structures" in err
    _, out, _ = run(capsys, "solve", tmp_path / "two.sdf", "--model", "eeq", "--charge", "1", "--json")  # which states none
    assert json.loads(out)["total_charge"] == pytest.approx(1.0, abs=1e-9)
    (tmp_path / "old.mol").write_text(
        SDF.format(name="by codes", charge="").replace("O   0  0", "O   0  5").partition("$$$$")[0]
    )
    _, out, _ = run(capsys, "solve", tmp_path / "old.mol", "--model", "eeq", "--json")
    assert json.loads(out)["total_charge"] == pytest.approx(-1.0, abs=1e-9)


def test_files_of_several_structures(capsys, tmp_path):
    """An unreadable one is named by its place; results know theirs."""
    good = "3\n\nO 0 0 0\nH 0 0 0.97\nH 0 0.97 0\n"
    (tmp_path / "bad.xyz").write_text(good + good.replace("0.97", "zz", 1))
    code, _, err = run(capsys, "solve", tmp_path / "bad.xyz", "--index", ":")
    assert code == 2
    assert "could not convert string to float: 'zz', structure 1)" in err
    (tmp_path / "close.xyz").write_text(good + good.replace("0 0 0.97", "0 0 0.001") + good)
    code, _, err = run(capsys, "solve", tmp_path / "close.xyz", "--index", ":", "--output", tmp_path / "out.extxyz")
    assert code == 2
    assert "structure 1 of" in err
    assert [atoms.info["index"] for atoms in read(tmp_path / "out.extxyz", ":")] == [0, 2]
    mixed = [molecule("H2O"), molecule("CH3OH"), bulk("NaCl", "rocksalt", 5.6), molecule("HCN")]
    write(tmp_path / "mixed.extxyz", mixed)
    run(
        capsys,
        "solve",
        tmp_path / "mixed.extxyz",
        "--index",
        ":",
        "--model",
        "qeq-dipoles",
        "--output",
        tmp_path / "all.extxyz",
    )
    for given, found in zip(mixed, read(tmp_path / "all.extxyz", ":"), strict=True):
        given.calc = CGDFT(QEqDipoles())
        assert np.allclose(given.get_forces(), found.get_forces(), atol=1e-6)
        assert found.get_potential_energy() == pytest.approx(given.get_potential_energy(), abs=1e-7)
        for name in ("stress",) if given.pbc.all() else ("dipole",):
            assert np.allclose(given.calc.get_property(name), found.calc.results[name], atol=1e-6)
        assert np.allclose(found.arrays["dipoles"], given.calc.solution.dipoles.numpy() / angstrom, atol=1e-6)
    code, _, err = run(capsys, "solve", tmp_path / "close.xyz", "--model", "qeq", "--model", "eeq")
    assert code == 2
    assert "`--model` must be one, got qeq and eeq" in err


CIF = """data_salt
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
{symmetry}
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_charge
Na1 Na {na} 0.87(1)
Cl1 Cl {cl} -0.87
"""
OPERATIONS = "loop_\n_symmetry_equiv_pos_as_xyz\n 'x,y,z'\n '-x,-y,-z'"


@pytest.mark.parametrize(
    ("symmetry", "na", "cl", "count"),
    [
        ("_symmetry_space_group_name_H-M 'F m -3 m'", "0 0 0", "0.5 0.5 0.5", 8),
        (OPERATIONS, "0.1 0.1 0.1", "0.4 0.5 0.6", 4),
    ],
)
def test_charges_of_sites_in_a_cif_file(symmetry, na, cl, count, capsys, tmp_path):
    """Also where only operations tell the symmetry, without a name."""
    (tmp_path / "salt.cif").write_text(CIF.format(symmetry=symmetry, na=na, cl=cl))
    _, out, _ = run(capsys, "solve", tmp_path / "salt.cif", "--model", "latent-charges", "--json")
    charges = json.loads(out)["charges"]
    assert len(charges) == count
    assert sorted({round(one, 6) for one in charges}) == [-0.87, 0.87]


def test_a_file_that_may_have_been_cut(capsys, tmp_path):
    write(tmp_path / "whole.xyz", molecule("CH4"))
    text = (tmp_path / "whole.xyz").read_text()
    (tmp_path / "cut.xyz").write_text(text.rstrip()[:-3])
    for name, told in {"whole.xyz": False, "cut.xyz": True}.items():
        code, _, err = run(capsys, "solve", tmp_path / name, "--model", "eeq")
        assert code == 0
        assert ("may have been cut" in err) == told
