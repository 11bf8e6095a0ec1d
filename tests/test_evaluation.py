"""Errors of trained models on frames: which labels are compared, and what is told of those that are not."""

import json

import pytest
import torch
from ase.build import molecule
from ase.io import write
from springs import water, written
from waters import ATOMS, Crowding, config, frames, network, stubborn, written_model

from cgdft import Structure, units
from cgdft.cli import main
from cgdft.functionals import QEq
from cgdft.learning import Batch, Frame
from cgdft.learning.architectures import make
from cgdft.learning.training.config import Settings
from cgdft.learning.training.evaluate_files import evaluate_files
from cgdft.learning.training.evaluation import evaluate
from cgdft.learning.training.run import train
from cgdft.learning.training.saving import metadata, save
from cgdft.learning.training.trainer import Trainer
from cgdft.validation.suites import stored


@pytest.fixture
def saved(tmp_path):
    return written_model(tmp_path)


def trained_on(path, reading=""):
    """An epoch of a small network, into the folder `run` beside the file."""
    config = path.with_name("set.yaml")
    config.write_text(
        f"data: {{train: [{path}], validation: 0.34{reading}}}\n"
        f"architecture: qeq\nenvironment: {{channels: 4, layers: 1}}\nschedule: {{implicit: 1}}\n"
        f"atoms: {{H: -0.5, O: -75.0}}\noutput: {path.with_name('run')}\n"
    )
    train(config)


@pytest.mark.filterwarnings("ignore:.*surroundings that the model:UserWarning", "ignore:labels are not read:UserWarning")
def test_charges_of_another_definition_are_not_compared(tmp_path):
    """Nor found better or worse than they are."""
    trained_on(written(tmp_path / "a.xyz", [water(seed) for seed in range(6)]))
    model = tmp_path / "run" / "model.safetensors"
    others = [water(seed) for seed in range(10, 13)]
    for atoms in others:
        atoms.arrays = {"Another_charges": 2 * atoms.arrays["Test_charges"], **atoms.arrays}
    both = evaluate_files(model, [written(tmp_path / "both.xyz", others)]).to_dict()["errors"]
    unchanged = [water(seed) for seed in range(10, 13)]
    plain = evaluate_files(model, [written(tmp_path / "plain.xyz", unchanged)]).to_dict()["errors"]
    assert both["charges"] == plain["charges"]
    for atoms in unchanged:
        atoms.calc.results["energy"] *= units.eV
    with pytest.raises(ValueError, match="`energy` must be in eV, got numbers that look like hartree"):
        evaluate_files(model, [written(tmp_path / "hartree.xyz", unchanged)])
    for atoms in others:
        del atoms.arrays["Test_charges"]
    with pytest.warns(UserWarning, match="multipoles are not compared: learnt by Test, in the files by Another"):
        assert "charges" not in evaluate_files(model, [written(tmp_path / "other.xyz", others)]).to_dict()["errors"]
    for atoms in others:
        del atoms.arrays["Another_charges"]
        atoms.calc = None
    with pytest.raises(ValueError, match="`data` must have labels, got none in .*none.xyz"):
        evaluate_files(model, [written(tmp_path / "none.xyz", others)])


@pytest.mark.filterwarnings("ignore:.*surroundings that the model:UserWarning")
def test_a_file_to_evaluate_on_may_lack_a_key_of_the_training(tmp_path):
    frames = [water(seed) for seed in range(6)]
    for atoms in frames:
        atoms.info["mine"] = atoms.calc.results.pop("dipole")
    trained_on(written(tmp_path / "a.xyz", frames), ", keys: {dipole: mine}")
    for atoms in frames:
        del atoms.info["mine"]
    with pytest.warns(UserWarning, match="`keys` of dipole must be a name in the files, got 'mine'"):
        found = evaluate_files(tmp_path / "run" / "model.safetensors", [written(tmp_path / "b.xyz", frames)]).errors
    assert "forces" in found
    assert "dipole" not in found


@pytest.mark.filterwarnings("ignore:.*surroundings that the model:UserWarning", "ignore:labels are not read:UserWarning")
def test_arrays_of_multipoles_that_are_told_are_their_definition(tmp_path):
    """Of whatever other definitions there are; the keys of a training hold where others are told later."""
    frames = [water(seed) for seed in range(6)]
    for atoms in frames:
        atoms.arrays["q_mine"] = 0.5 * atoms.arrays["Test_charges"]
    path = written(tmp_path / "a.xyz", frames)
    trained_on(path, ", keys: {multipoles: q_mine}")
    model = tmp_path / "run" / "model.safetensors"
    assert metadata(model)["provenance"]["definition"] == "q_mine"
    plain, told = (evaluate_files(model, [path], keys=keys).to_dict()["errors"] for keys in (None, {"energy": "energy"}))
    assert told == plain
    assert "charges" in plain
    for atoms in frames:
        del atoms.arrays["q_mine"]
    with pytest.warns(UserWarning, match="`keys` of multipoles must be a name in the files, got 'q_mine'"):
        assert "charges" not in evaluate_files(model, [written(tmp_path / "b.xyz", frames)]).to_dict()["errors"]


class Normalised(Crowding):
    """Whose features depend on the batch while it is trained."""

    def __init__(self, elements):
        super().__init__(elements)
        self.normal = torch.nn.BatchNorm1d(2, dtype=torch.float64)

    def features(self, structure):
        h = super().features(structure)
        return torch.cat([self.normal(h[:, :2]), h[:, 2:]], 1)


def test_what_is_told_of_a_trained_model_is_of_the_model_that_is_returned(tmp_path):
    """In evaluation mode, whatever batch it is asked with."""
    environment = Normalised(["H", "O"])
    model = make("nonlinear", environment, ATOMS)
    settings = Settings(schedule={"implicit": 2}, batch_size=2, ema=0.0)
    trained = Trainer(model, frames(), frames(2, 10), settings).run()
    assert model.training
    assert not trained.model.training
    again = evaluate(trained.model, [Batch.of(frames(2, 10))])
    assert again.errors["energy"].rmse == pytest.approx(trained.evaluation.errors["energy"].rmse, rel=1e-9)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    save(model, tmp_path / "model.safetensors", architecture="nonlinear", atoms=ATOMS)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    apart = evaluate(trained.model, [Batch.of([one]) for one in frames(2, 10)])
    assert apart.errors["energy"].rmse == pytest.approx(again.errors["energy"].rmse, rel=1e-9)


def test_evaluate(saved, tmp_path, capsys):
    assert main(["evaluate", str(saved[1]), str(stored("water")), "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["frames"] == 6
    assert found["errors"]["energy"]["unit"] == "meV/atom"
    assert found["errors"]["charges"]["rmse"] > 0
    assert found["errors"]["susceptibility"]["n"] == sum((4 * n) ** 2 for n in range(3, 19, 3))
    assert "surroundings that the model was not trained on" in captured.err
    assert main(["evaluate", str(saved[1]), str(stored("molecules"))]) == 0
    captured = capsys.readouterr()
    assert "which the model does not know (it knows H, O)" in captured.err
    assert "meV/angstrom" in captured.out
    assert main(["evaluate", "nothing", str(stored("molecules"))]) == 2


def test_models_without_a_training_are_evaluated(tmp_path, capsys):
    """By name, by file and in Python."""
    (tmp_path / "mine.py").write_text("from cgdft.functionals import QEq\nmodel = QEq()\n")
    (tmp_path / "each.py").write_text("from cgdft.functionals import QEq\ndef model(structure):\n    return QEq()\n")
    path, tables = written(tmp_path / "set.xyz", [water(seed) for seed in range(3)]), []
    for name in ("qeq", tmp_path / "mine.py"):
        assert main(["evaluate", str(name), str(path), "--json"]) == 0
        tables.append(json.loads(capsys.readouterr().out))
    tables.append(evaluate_files(QEq(), [path]).to_dict())
    assert tables[0] == tables[1] == tables[2]
    dipoles = [
        QEq()(Structure.from_ase(water(k))).dipole[0] / units.angstrom - torch.tensor(water(k).calc.results["dipole"])
        for k in range(3)
    ]
    assert tables[0]["errors"]["dipole"]["rmse"] == pytest.approx(1e3 * float(torch.stack(dipoles).square().mean().sqrt()))
    for name, said in (("sqe", "the same for all structures, got sqe"), (tmp_path / "each.py", "the same for all structures")):
        assert main(["evaluate", str(name), str(path)]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*surroundings that the model:UserWarning")
def test_charges_that_nothing_told_are_latent(tmp_path, capsys):
    """Of a model that was trained on energies and forces alone: compared, and said so; `train` in the YAML may be one file."""
    path = config(tmp_path, "latent", 1)
    text = path.read_text().replace("nonlinear", "les").replace("[", "").replace("]", "")
    path.write_text(text.replace("direct: 2, ", ""))
    assert main(["train", str(path)]) == 0
    assert main(["evaluate", str(tmp_path / "latent" / "model.safetensors"), str(stored("water"))]) == 0
    captured = capsys.readouterr()
    assert "charges are latent or none, as no label of the training was of them; compared all the same: charges" in captured.err


def test_what_solve_writes_is_evaluated(tmp_path, capsys):
    """Charges and dipoles, as their own reference."""
    write(tmp_path / "in.xyz", [molecule("H2O"), molecule("NH3")])
    solved = [
        "solve",
        str(tmp_path / "in.xyz"),
        "--index",
        ":",
        "--model",
        "qeq-dipoles",
        "--output",
        str(tmp_path / "out.xyz"),
    ]
    assert main(solved) == 0
    capsys.readouterr()
    assert main(["evaluate", "qeq-dipoles", str(tmp_path / "out.xyz")]) == 0
    captured = capsys.readouterr()
    rows = [line.split() for line in captured.out.splitlines()[1:]]
    errors = {row[0]: float(row[1]) for row in rows if len(row) > 3}
    assert {"charges", "dipoles", "forces"} <= errors.keys()
    assert all(error < 1e-4 for error in errors.values())
    assert "not read" not in captured.err


def test_evaluate_with_keys_and_units_of_the_files(saved, tmp_path, capsys):
    model, frames = str(saved[1]), [water(seed) for seed in range(3)]

    def errors(*more):
        assert main(["evaluate", model, str(written(tmp_path / "set.xyz", frames)), "--json", *more]) == 0
        return json.loads(capsys.readouterr().out)["errors"]

    known = errors()
    for atoms in frames:
        energy = atoms.calc.results.pop("energy") * units.eV / units.hartree
        atoms.info["mine"] = energy
    assert "energy" not in errors()
    told = errors("--key", "energy=mine", "--unit", "energy=hartree")
    assert told["energy"]["rmse"] == pytest.approx(known["energy"]["rmse"], rel=1e-6)
    assert told["forces"] == known["forces"]
    for wrong in (["--key", "energy"], ["--key", "energy=other"], ["--unit", "energy=parsec"]):
        assert main(["evaluate", model, str(tmp_path / "set.xyz"), *wrong]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_evaluation_tells_what_was_left_out(saved, tmp_path, capsys):
    """Frames in a field, and labels that are not read."""
    frames = [water(seed) for seed in range(3)]
    frames[0].info["electric_field"] = [0.0, 0.0, 0.01]
    frames[1].info["my_energy"] = 1.0
    assert main(["evaluate", str(saved[1]), str(written(tmp_path / "set.xyz", frames))]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "1 of 3 frames are in a uniform field and left out" in told
    assert "labels are not read from my_energy" in told


def test_a_model_that_solves_nothing_is_an_error(tmp_path):
    """Each reason once, whatever number of frames; that some are not solved is none."""
    near, far = water(0), [water(seed) for seed in (1, 2)]
    for atoms in far:
        atoms.positions[1] *= 3.0
        atoms.calc.results = {"energy": -76.0 / units.eV}
    path = written(tmp_path / "far.xyz", far)
    with pytest.raises(ValueError, match="must have a minimum for a frame at least, got none for all 2: far-0, far-1: the"):
        evaluate_files(stubborn(network()), [path])
    assert evaluate_files(stubborn(network()), [path, written(tmp_path / "near.xyz", [near])]).left_out == 2


@pytest.mark.filterwarnings("ignore:.*surroundings that the model:UserWarning", "ignore:not evaluated of some:UserWarning")
def test_what_bulk_has_not_is_evaluated_of_molecules(saved):
    """Whatever batches there are; and a slab has no stress across it, though codes write one."""
    model = saved[0].eval()
    solution = model(Structure.from_ase(molecule("H2O")))
    cell = 20.0 * torch.eye(3, dtype=torch.float64)
    made = []
    for pbc in (False, True, (True, True, False)):
        structure = Structure(solution.structure.numbers, solution.structure.positions, cell, pbc)
        one = model(structure)
        stress = {"stress": one.stress()[0].detach() + torch.diag(torch.tensor([0.0, 0.0, pbc is not True]))} if pbc else {}
        made.append(Frame(str(pbc), structure, {"polarizability": torch.eye(3, dtype=torch.float64), **stress}))
    together = evaluate(model, [Batch.of(made)])
    apart = evaluate(model, [Batch.of([one]) for one in made])
    assert together.errors["polarizability"].n in (9, 18)
    assert together.errors["polarizability"].n == apart.errors["polarizability"].n
    assert together.errors["polarizability"].rmse == pytest.approx(apart.errors["polarizability"].rmse)
    assert together.errors["stress"].n == 9 + 4
    assert together.errors["stress"].rmse < 1e-12
