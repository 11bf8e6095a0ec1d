"""The trained models of the package: found by name, as good as they say, and knowing where they were not trained."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from typer.testing import CliRunner

from cgdft import Structure
from cgdft.cli import app
from cgdft.learning import Batch, load
from cgdft.learning.training.domain import OutsideTraining
from cgdft.learning.training.evaluation import evaluate
from cgdft.learning.training.saving import metadata
from cgdft.pretrained import names
from cgdft.validation.pretrained import QUANTITIES, known, markdown, stored_results

ELEMENTS = {"H", "C", "N", "O", "F", "Na", "Cl", "Si"}
NAMES = tuple(names())


def test_there_are_some():
    assert tuple(sorted(stored_results())) == NAMES
    assert len(NAMES) >= 2


def test_the_page_is_generated():
    """`python -m cgdft.validation.pretrained --output validation/suites/pretrained.json > docs/pretrained.md`."""
    assert (Path(__file__).parents[1] / "docs" / "pretrained.md").read_text() == markdown(stored_results())


@pytest.mark.parametrize("name", NAMES)
class TestEach:
    def test_says_what_it_is(self, name):
        facts = metadata(name)
        assert set(facts["environment"]["elements"]) == ELEMENTS
        data = facts["provenance"]["data"]
        assert len(data["train"]) > 20
        assert data["frames"][0] > 1000
        assert facts["provenance"]["validation"]["errors"]["energy"]["mae"] < 15
        assert not any(part.startswith("/") for part in json.dumps(facts).split('"'))  # no paths of a machine

    def test_is_as_good_as_it_says(self, name):
        model = load(name)
        frames = known("molecules", tuple(sorted(ELEMENTS)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OutsideTraining)
            found = evaluate(model, [Batch.of(frames)], QUANTITIES).to_dict()
        expected = stored_results()[name]["on"]["molecules"]
        assert found["frames"] == expected["frames"] == len(frames)
        assert found["failed"] == 0
        for quantity, row in expected["errors"].items():
            assert found["errors"][quantity]["rmse"] == pytest.approx(row["rmse"], rel=0.01), quantity

    def test_water(self, name):
        """Of PBE/def2-SVPD: -0.289 e on oxygen, 0.384 e angstrom (measured 0.386), 0.172 of it by charges alone."""
        solution = load(name)(Structure.from_ase(molecule("H2O")))
        assert float(solution.charges[0]) == pytest.approx(-0.289, abs=0.015)
        expected = 0.384 if solution.density.coefficients.shape[1] > 1 else 0.172
        assert float(solution.dipole.norm()) * 0.529177 == pytest.approx(expected, rel=0.1)

    @pytest.mark.parametrize(("symbols", "bond"), [("CO", 1.14), ("NN", 1.12), ("HF", 0.93), ("NaCl", 2.38)])
    def test_nuclei_stay_apart(self, name, symbols, bond):
        ratios = (1.0, 0.9, 0.45, 0.35)  # of the bond: where it was trained, and where the repulsion of nuclei acts alone
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OutsideTraining)
            model = load(name)
            pair = [Structure.from_ase(Atoms(symbols, [[0, 0, 0], [ratio * bond, 0, 0]])) for ratio in ratios]
            energies = [float(model(one).energy) for one in pair]
        assert energies == sorted(energies)

    def test_outside_of_its_training(self, name):
        model = load(name)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model(Structure.from_ase(molecule("CH4")))
        stretched = molecule("HF")
        stretched.positions[1] += 3 * (stretched.positions[1] - stretched.positions[0])
        with pytest.warns(OutsideTraining, match="nearest neighbour"):
            model(Structure.from_ase(stretched))
        with pytest.warns(OutsideTraining, match=r"O 0.850 angstrom away, 0\.[89]\d+ at the least"):  # C-H has been as near
            load(name)(Structure.from_ase(Atoms("CO", [[0, 0, 0], [0, 0, 0.85]])))
        with pytest.warns(OutsideTraining, match=r"\(Na\) .*(Si 2.400|Si within|4 neighbours within)"):
            load(name)(
                Structure.from_ase(
                    Atoms("NaSiH3", [[0, 0, -2.4], [0, 0, 0], [1.4, 0, 0.5], [-0.7, 1.2, 0.5], [-0.7, -1.2, 0.5]])
                )
            )
        near = molecule("HF")  # another way to be outside, of the same model
        near.positions[1] += 0.4 * (near.positions[0] - near.positions[1])
        with pytest.warns(OutsideTraining, match="angstrom away, .* at the least in training; the like") as told:
            model(Structure.from_ase(near))
        assert {Path(one.filename).name for one in told} == {"test_pretrained.py"}
        with pytest.raises(ValueError, match="got Fe"):
            model(Structure.from_ase(Atoms("FeO", [[0, 0, 0], [0, 0, 1.6]])))

    @pytest.mark.parametrize(
        ("symbols", "charge", "spin", "told"),
        [
            ("H2O", 1, 0, "H2O has the total charge 1, in the training of H2O 0;"),
            ("OH", 1, 0, "HO has the total charge 1, in the training of HO -1;"),
            ("C2Cl4", 2, 0, "C2Cl4 has the total charge 2, in the training -1 to 1;"),
            ("C2Cl4", 1, 0, "C2Cl4 has unpaired electrons, 1 or more, in the training 0;"),
            ("H2O", 0, 2, "H2O has unpaired electrons, 2 or more, in the training 0;"),
        ],
    )
    def test_charges_it_does_not_know(self, name, symbols, charge, spin, told):
        model, atoms = load(name), molecule(symbols)
        known = Structure.from_ase(molecule("H2O"))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model(known)
        both = Structure.batch([known, Structure.from_ase(atoms, charge, spin)])
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            model(both[1])
            model(both)
        assert [str(one.message) for one in found if "electrons" in str(one.message) or "charge" in str(one.message)] == [
            f"{told} the like is not told again"
        ]
        with pytest.warns(OutsideTraining, match=re.escape(f"structure 1 ({told.split()[0]}) {told.split(' ', 1)[1]}")):
            load(name)(both)

    def test_moments_of_another_charge(self, name):
        """ASE's OH has a magnetic moment, which OH- has not."""
        ion = Structure.from_ase(molecule("OH"), charge=-1)
        assert float(ion.spin) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load(name)(ion)

    def test_on_the_command_line(self, name, tmp_path):
        from ase.io import write

        write(tmp_path / "ammonia.xyz", molecule("NH3"))
        result = CliRunner().invoke(app, ["solve", str(tmp_path / "ammonia.xyz"), "--model", name])
        assert result.exit_code == 0, result.output
        assert "N" in result.output

    def test_forces_are_slopes(self, name):
        model, atoms = load(name), molecule("H2CO")

        def energy(x):
            moved = atoms.copy()
            moved.positions[1, 2] += x
            return float(model(Structure.from_ase(moved)).energy)

        step = 1e-2  # angstrom: the network works in float32
        slope = (energy(step) - energy(-step)) / (2 * step) * 0.529177
        force = float(model(Structure.from_ase(atoms)).forces()[1, 2])
        assert -slope == pytest.approx(force, abs=2e-3)
        assert np.isfinite(force)
