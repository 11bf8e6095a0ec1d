"""What `cgdft train` makes of the frames in files where little is told."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from springs import water, written
from waters import ATOMS, network

from cgdft.cli import main
from cgdft.learning.architectures import make
from cgdft.learning.data.checks import check_set
from cgdft.learning.data.sets import FrameSet
from cgdft.learning.training.config import Config, Settings
from cgdft.learning.training.saving import load, metadata, save
from cgdft.learning.training.trainer import Trainer


def single(symbol, energy, **info):
    atoms = Atoms(symbol, info=info)
    atoms.calc = SinglePointCalculator(atoms, energy=energy)
    return atoms


@pytest.mark.parametrize("seed", range(4))
def test_single_atoms_are_trained_on(tmp_path, seed):
    """Their energies are those of free atoms; ions in the gas phase are frames as others."""
    frames = [
        *(water(k) for k in range(9)),
        single("H", -13.6, spin=1),
        single("O", -2041.0, spin=2),
        single("H", 0.0, charge=1),
    ]
    for atoms in frames:
        atoms.info.setdefault("charge", 0)
    first, second = FrameSet.read(written(tmp_path / "set.xyz", frames)).split([0.5, 0.5], seed)
    assert len(first) == len(second) == 6
    assert sorted(first.facts["size"])[:2] == [1, 1]
    assert sum(f.structure.n_atoms == 1 and not f.structure.charge.any() for f in second) == 0


def test_names_that_speak_of_labels_and_are_read_as_none_are_told(tmp_path):
    frames = [water(k) for k in range(3)]
    for k, atoms in enumerate(frames):
        atoms.arrays["my_forces"] = atoms.calc.results.pop("forces")
        atoms.arrays |= {"bec": np.zeros((3, 9)), "aims_atom_multipoles": np.zeros((3, 4))}
        atoms.info |= {"REF_virials": np.eye(3), "config_energy_weight": 0.0, "config_type": "liquid", "step": k}
    path = written(tmp_path / "set.xyz", frames)
    told = "labels are not read from REF_virials, aims_atom_multipoles, bec, my_forces: name them by `keys`"
    assert told in check_set(FrameSet.read(path), atomic_energies=ATOMS)
    known = FrameSet.read(path, keys={"forces": "my_forces"})
    assert told.replace(", my_forces", "") in check_set(known, atomic_energies=ATOMS)
    assert all("not read" not in note for note in FrameSet.read(written(tmp_path / "good.xyz", [water(0)])).notes)


CONFIG = "data: {{train: [{data}]{more}}}\narchitecture: {architecture}\nenvironment: {{channels: 4, layers: 1}}\n"


def config(tmp_path, data, architecture="qeq", more=""):
    path = tmp_path / "set.yaml"
    text = CONFIG.format(data=data, architecture=architecture, more=more)
    path.write_text(f"{text}schedule: {{implicit: 2}}\natoms: {{H: -0.5, O: -75.0}}\noutput: {tmp_path / 'run'}\n")
    return path


@pytest.mark.parametrize("name", ["les", "local"])
def test_latent_charges_are_learnt_from_energies_and_forces(tmp_path, name, capsys):
    """As their page says; where weights are told, from what they say."""
    path = config(tmp_path, written(tmp_path / "set.xyz", [water(k) for k in range(6)]), name, ", validation: 0.34")
    assert main(["train", str(path)]) == 0
    assert "labels that do not count, as `weights` does not name them: dipole, multipoles" in " ".join(
        capsys.readouterr().err.split()
    )
    head = (tmp_path / "run" / "log.csv").read_text().splitlines()[0].split(",")
    assert [one for one in head if one.startswith("loss_")] == ["loss_energy", "loss_forces"]
    told = Config(data={"train": [tmp_path / "set.xyz"]}, architecture=name, weights={"multipoles": 1.0})
    assert told.settings.weights == {"multipoles": 1.0}


def test_one_structure_alone_is_fitted(tmp_path, capsys):
    """Without frames to validate on: whether a model can learn at all."""
    path = config(tmp_path, written(tmp_path / "one.xyz", [water(0)]), more=", validation: 0")
    assert main(["train", str(path)]) == 0
    assert "frames" not in capsys.readouterr().err
    facts = metadata(tmp_path / "run" / "model.safetensors")["provenance"]["data"]
    assert facts["train"] == facts["validation"]


def test_weights_of_a_saved_model_wait_to_be_asked(tmp_path):
    save(make("qeq", network(), ATOMS), tmp_path / "model.safetensors", architecture="qeq", atoms=ATOMS)
    model = load(tmp_path / "model.safetensors")
    path = written(tmp_path / "set.xyz", [water(k) for k in range(4)])
    frames, settings = FrameSet.read(path), Settings(schedule={"implicit": 1})
    with pytest.raises(ValueError, match=r"weights that require a gradient, got none in QEq.*requires_grad_\(\)"):
        Trainer(model, frames, frames, settings)
    trained = Trainer(model.requires_grad_(), frames, frames, settings).run()
    assert len(trained.history) == 1
