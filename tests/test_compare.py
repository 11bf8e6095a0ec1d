"""The comparison: every number against one computed by hand, failures that stay where they are, runs that are killed."""

import dataclasses
import html.parser
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

import cgdft
from cgdft.functionals import Electronegativity, Hardness, Hartree, LatentCharges, QEq, QEqDipoles, UniformField
from cgdft.validation import compare, fixed, reference
from cgdft.validation.report.merit import merit
from cgdft.validation.report.score import scale

QUICK = "hf/sto-3g"
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("references")


@pytest.fixture(scope="module")
def references(folder):
    salt = Atoms("LiF", [[0.1, -0.2, 0.3], [0.1, 0.7, 1.5]])  # along no axis, off the origin
    return {
        "H2O": reference(molecule("H2O"), threads=1, cache=folder),
        "LiF": reference(salt, threads=1, cache=folder, polarizability=False),
    }


@pytest.fixture(scope="module")
def water(references):
    return references["H2O"]


@pytest.fixture(scope="module")
def comparison(references):
    return compare([QEq(), fixed(0), fixed(1), fixed(2)], references)


def score(comparison, model, name):
    (found,) = [one for one in comparison.of_molecule(name) if one.model == model]
    assert not found.reason
    return found


# The numbers


@pytest.mark.parametrize("name", ["H2O", "LiF"])
def test_hirshfeld_multipoles_reproduce_molecular_moments(comparison, references, name):
    charges, dipoles, quadrupoles = (score(comparison, f"Fixed {what}", name) for what in ("charges", "l <= 1", "l <= 2"))
    assert np.linalg.norm(references[name].dipole) > 0.5
    assert charges.dipole_error > 0.1
    assert dipoles.dipole_error < 1e-6
    assert dipoles.quadrupole_error > 0.1
    assert quadrupoles.dipole_error < 1e-6
    assert quadrupoles.quadrupole_error < 1e-5
    assert quadrupoles.charges_rms == quadrupoles.dipoles_max == 0.0
    assert charges.potential_outer > dipoles.potential_outer > quadrupoles.potential_outer > 0.0
    assert quadrupoles.potential_outer < 0.03


def test_point_like_multipoles_have_the_potential_of_points(comparison, water):
    distance = np.linalg.norm(water.points[:, None] - water.positions, axis=2)
    potential = (water.multipoles[:, 0] / distance).sum(axis=1)
    for shell, name in enumerate(("inner", "outer")):
        here = water.shell == shell
        for field, exact in (("", water.potential_difference), ("full_", water.potential)):
            expected = np.linalg.norm((potential - exact)[here]) / np.linalg.norm(exact[here])
            found = getattr(score(comparison, "Fixed charges", "H2O"), f"{field}potential_{name}")
            assert found == pytest.approx(expected, rel=1e-6)
            assert found > 0.3


@pytest.mark.parametrize("name", ["H2O", "LiF"])
def test_numbers_are_those_of_the_solution(comparison, references, name):
    ref, found = references[name], score(comparison, "QEq", name)
    solution = QEq()(ref.structure())
    charges = solution.charges.numpy()
    error = charges - ref.multipoles[:, 0]
    assert found.charges_rms == pytest.approx(np.sqrt((error**2).mean()))
    assert found.charges_max == pytest.approx(np.abs(error).max())
    assert found.charges_max >= found.charges_rms > 0.05
    lengths = np.linalg.norm(ref.multipoles[:, 1:4], axis=1)
    assert found.dipoles_rms == pytest.approx(np.sqrt((lengths**2).mean()))
    assert found.dipoles_max == pytest.approx(lengths.max())
    assert found.dipole_error == pytest.approx(np.linalg.norm(charges @ ref.positions - ref.dipole))
    potential = solution.density.potential(torch.from_numpy(ref.points)).numpy()
    for shell, value in ((0, found.potential_inner), (1, found.potential_outer)):
        exact = ref.potential_difference[ref.shell == shell]
        assert value == pytest.approx(np.linalg.norm(potential[ref.shell == shell] - exact) / np.linalg.norm(exact))
    assert found.polarizability == pytest.approx(float(solution.polarizability()[0].trace()) / 3)
    assert found.chemical_potential == pytest.approx(float(solution.chemical_potential))
    assert found.hardness == pytest.approx(float(solution.hardness()))
    if ref.polarizability is None:
        assert found.polarizability_error is None
    else:
        alpha = solution.polarizability()[0].numpy() - ref.polarizability
        assert found.polarizability_error == pytest.approx(np.linalg.norm(alpha) / np.linalg.norm(ref.polarizability))


def test_rigid_models_say_nothing_of_response(comparison):
    rigid = score(comparison, "Fixed l <= 1", "H2O")
    assert rigid.polarizability == 0.0
    assert rigid.polarizability_error == pytest.approx(1.0)
    assert rigid.hardness is None
    assert rigid.chemical_potential is None


def test_errors_do_not_depend_on_the_place(water):
    step = np.array([3.0, -5.0, 2.0])
    second = np.outer(step, water.dipole) + np.outer(water.dipole, step)  # what moving a neutral molecule adds
    moved = dataclasses.replace(
        water,
        positions=water.positions + step,
        quadrupole=water.quadrupole + 1.5 * second - 0.5 * np.trace(second) * np.eye(3),
    )
    here, there = (compare(QEq(), one).scores[0].numbers() for one in (water, moved))
    assert here["quadrupole_error"] > 1e-3
    assert there == pytest.approx(here, abs=1e-9)


def test_charged_open_shell_in_a_field(folder):
    radical = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]])
    settings = {"cache": folder, "polarizability": False, "threads": 1}
    ion = reference(radical, QUICK, charge=-1, field=(0.0, 0.0, 0.01), **settings)
    structure = ion.structure()
    assert structure.charge.tolist() == [-1.0]
    np.testing.assert_allclose(structure.positions.numpy(), ion.positions)
    found = compare(QEq(), ion).scores[0]
    assert found.model == "QEq"
    assert found.solution.total_charge.item() == pytest.approx(-1.0)
    by_hand = (QEq() + UniformField([0.0, 0.0, 0.01]))(structure)
    assert found.charges_max == pytest.approx(np.abs(by_hand.charges.numpy() - ion.multipoles[:, 0]).max())
    neutral = reference(radical, QUICK, spin=1, **settings).structure()
    assert neutral.spin.tolist() == [1.0]
    assert list(compare(QEq(), ion).references) == ["HO (-1)"]


def test_no_error_relative_to_nothing(folder):
    atom = reference(Atoms("He"), QUICK, cache=folder, polarizability=False, threads=1)
    found = compare(LatentCharges(0.0, width=1.0), atom).scores[0]
    assert not found.reason
    assert found.potential_inner is None
    assert found.full_potential_inner is not None


# Failures


def test_failures_stay_in_their_row(references):
    only_salt = LatentCharges({"Li": 0.9, "F": -0.9}, name="salt only")
    soft = cgdft.Model(
        Hartree(self_interaction=False) + Electronegativity(0.1) + Hardness(0.01), cgdft.Multipoles(width=1.0), name="soft"
    )

    def broken(ref):
        raise KeyError(f"nothing for {len(ref.numbers)} <atoms>")

    def wrong(_):
        return 3

    result = compare([only_salt, soft, QEq(), broken, wrong, QEq()], references)
    assert result.models == ["salt only", "soft", "QEq", "broken", "wrong", "QEq 2"]
    reasons = {(one.model, one.molecule): one.reason for one in result.scores}
    assert "O" in reasons["salt only", "H2O"]
    assert reasons["salt only", "LiF"] == ""
    assert reasons["soft", "H2O"].startswith("SolverError: ")
    assert "nothing for 3 <atoms>" in reasons["broken", "H2O"]
    assert "reference -> Model, got one that returns 3" in reasons["wrong", "LiF"]
    assert reasons["QEq", "H2O"] == reasons["QEq", "LiF"] == ""
    mean, count = result.mean("salt only")
    assert count == 1
    assert mean.charges_rms == pytest.approx(score(result, "salt only", "LiF").charges_rms)
    assert result.mean("soft")[0].charges_rms is None
    assert "soft on H2O failed: SolverError" in " ".join(str(result).split())
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["molecules"]["H2O"]["models"]["soft"]["failed"]


@pytest.mark.parametrize(
    ("models", "what", "error", "message"),
    [
        ([], None, ValueError, "`models` must hold at least one"),
        ([3], None, TypeError, "`models` must be cgdft.Model objects, or callables"),
        (QEq(), [], ValueError, "`reference` must hold at least one"),
        (QEq(), [3], TypeError, "`reference` must be .*Reference objects, got 3"),
        (QEq(), {"a": 3}, TypeError, "got 3 for 'a'"),
    ],
)
def test_bad_arguments_are_named(water, models, what, error, message):
    with pytest.raises(error, match=message):
        compare(models, water if what is None else what)


# What is shown


def test_table_has_names_numbers_and_units(comparison):
    text = str(comparison)
    for word in ("H2O", "LiF", "QEq", "Fixed l <= 2", "e bohr^2", "bohr^3", "%", "pbe/def2-svp", "mean of 2"):
        assert word in text
    assert f"{score(comparison, 'QEq', 'H2O').charges_rms:.3f}" in text
    assert f"{100 * score(comparison, 'QEq', 'LiF').potential_inner:.1f}" in text
    assert max(map(len, text.splitlines())) <= 80
    assert repr(comparison) == "Comparison(QEq, Fixed charges, Fixed l <= 1, Fixed l <= 2; H2O, LiF)"


def test_dictionary_is_json(comparison):
    plain = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert set(plain["molecules"]) == {"H2O", "LiF"}
    model = plain["molecules"]["LiF"]["models"]["QEq"]
    assert sum(model["charges"]) == pytest.approx(0.0, abs=1e-9)
    assert model["full_potential_inner"] != model["potential_inner"]
    assert model["references"] == ["rappe1991"]
    assert plain["means"]["QEq"]["molecules"] == 2


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.targets, self.tags, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.targets += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data):
        self.text += data


def test_report_needs_nothing_else(references, tmp_path):
    def bad(_):
        raise ValueError("<script>alert(1)</script>")

    bad.__name__ = "<b>bold & bad</b>"
    named = {"<i>water</i>": references["H2O"], "LiF": references["LiF"]}
    path = compare([QEq(), fixed(1), bad], named).html(tmp_path / "report.html")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["report.html", "report.json"]
    text = path.read_text(encoding="utf-8")
    page = Links()
    page.feed(text)
    assert len(page.targets) >= 4  # two figures of two molecules, and those of observables
    assert all(target.startswith("data:image/png;base64,") for target in page.targets)
    assert not {"script", "link", "iframe", "b>bold"} & set(page.tags)
    assert "i" not in page.tags
    assert "@import" not in text
    assert "url(" not in text
    for word in ("QEq", "Fixed l <= 1", "<b>bold & bad</b>", "<script>alert(1)</script>", "<i>water</i>", "PySCF", "Worst"):
        assert word in page.text
    with pytest.raises(FileNotFoundError, match="`path` must be in a folder that exists"):
        compare(QEq(), references).html(tmp_path / "none" / "report.html")


def test_importing_is_light():
    script = "import sys, cgdft.validation as v; print(*(m for m in ('pyscf', 'torch', 'matplotlib') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_nothing_depends_on_where_an_ion_is(folder):
    """Nor where a model has another total charge, which is told."""
    ion = Atoms("OH", [[0, 0, 0], [0.0, 0.3, 0.92]])
    there = ion.copy()
    there.positions += [7.0, -5.0, 9.0]
    models = [QEq(), QEq().replace(constraints=[cgdft.TotalCharge(0.0)])]
    pairs = {name: reference(one, QUICK, charge=-1, threads=1, cache=folder) for name, one in {"a": ion, "b": there}.items()}
    found = compare(models, pairs)
    near, far = found.of_molecule("a"), found.of_molecule("b")
    for one, two in [*zip(near, far, strict=True), tuple(scale(name, ref) for name, ref in pairs.items())]:
        assert one.dipole_error == pytest.approx(two.dipole_error, abs=1e-3)
        assert one.quadrupole_error == pytest.approx(two.quadrupole_error, abs=1e-3)
    assert "has a charge of 0 e in place of -1 e" in " ".join(str(found).split())
    merits = [merit(ref, "Hirshfeld", 0) for ref in pairs.values()]
    assert merits[0].quadrupole == pytest.approx(merits[1].quadrupole, abs=1e-3)


def test_references_without_the_definition_are_left_out_by_name(water, references):
    both = {"H2O": water, "LiF": dataclasses.replace(references["LiF"], moments={"Mine": references["LiF"].multipoles})}
    found = compare(QEq(), both, definition="Mine")
    assert [one.molecule for one in found.scores] == ["LiF"]
    assert found.failed == {"H2O": f"none by Mine, only by {', '.join(water.moments)}"}
    assert "H2O has no reference: none by Mine" in " ".join(str(found).split())
    held = compare([fixed(0, definition="Mine")], both, definition="Mine")
    assert held.scores[0].charges_rms == 0.0
    with pytest.raises(ValueError, match="`definition` must be one of .* got 'Theirs'"):
        compare(QEq(), both, definition="Theirs")


def test_means_over_fewer_molecules_say_so(comparison):
    assert comparison.partial() == "Means of polariz. error over 1 of 2."
    assert comparison.partial() in " ".join(str(comparison).split())


def test_models_of_other_kinds_compare(water):
    result = compare([QEqDipoles(), fixed(0, width=1.0)], water)
    assert [one.model for one in result.scores] == ["QEq + dipoles", "Fixed charges"]
    assert result.scores[0].dipoles_rms > 0
