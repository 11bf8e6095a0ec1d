"""Trained models in files, and the commands that make and use them."""

import json
import re
import struct

import pytest
import torch
from ase.build import molecule
from e3nn import o3
from safetensors.torch import load_file
from springs import water, written
from waters import ATOMS, config, frames, network, process, stretched

import cgdft
from cgdft import Structure, units
from cgdft.cli import main
from cgdft.electrostatics.pairs import near_pairs
from cgdft.learning import Environment, MessagePassing
from cgdft.learning.architectures import make
from cgdft.learning.training.config import Settings
from cgdft.learning.training.domain import OutsideTraining, ranges
from cgdft.learning.training.evaluate_files import evaluate_files
from cgdft.learning.training.read_config import read_config
from cgdft.learning.training.run import train
from cgdft.learning.training.saving import checksum, load, metadata, save
from cgdft.validation.suites import stored

# Saved models.


@pytest.fixture
def saved(tmp_path):
    environment = network()
    model = make("nonlinear", environment, ATOMS)
    path = tmp_path / "model.safetensors"
    seen = ranges(frames(), environment.cutoff)
    save(model, path, architecture="nonlinear", atoms=ATOMS, ranges=seen, provenance={"seed": 3})
    return model, path


def changed(path, **changes):
    """The file with other facts, as if it had been written so, or with the checksum that is told."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    facts = {**json.loads(header["__metadata__"]["cgdft"]), **changes}
    if "checksum" not in changes:
        facts["checksum"] = checksum(load_file(path), facts)
    header["__metadata__"]["cgdft"] = json.dumps(facts)
    told = json.dumps(header).encode()
    other = path.with_name("changed.safetensors")
    other.write_bytes(struct.pack("<Q", len(told)) + told + content[8 + size :])
    return other


def test_saved_models_come_back(saved):
    model, path = saved
    again = load(path)
    water = frames(1)[0].structure
    assert abs(float(model(water).energy.detach()) - float(again(water).energy)) < 1e-12
    assert torch.allclose(model(water).forces().detach(), again(water).forces(), atol=1e-12)
    content = path.read_bytes()
    assert content[8:9] == b"{"
    assert b"pickle" not in content
    facts = metadata(path)
    assert facts["provenance"] == {"seed": 3}
    assert facts["versions"]["cgdft"] == cgdft.__version__


class Crowding(Environment):
    """How much there is around an atom, and on which side: an environment of a user's own."""

    def __init__(self, elements, cutoff=6.0):
        super().__init__()
        self.elements, self.cutoff, self.irreps = tuple(elements), cutoff, o3.Irreps("2x0e + 1x1o")
        self.range = torch.nn.Parameter(torch.tensor([2.0, 3.0], dtype=torch.float64))

    def features(self, structure):
        i, _, apart = near_pairs(structure, self.cutoff)
        near = torch.exp(-((apart**2).sum(1, keepdim=True) / self.range**2))
        seen = torch.cat([near, near[:, :1] * apart], 1)
        return seen.new_zeros(structure.n_atoms, 5).index_add(0, i, seen)


def test_models_on_environments_of_ones_own_are_saved(tmp_path):
    """Weights of the environment are in the file, its code is not: one like it has to be given."""
    path = tmp_path / "own.safetensors"
    torch.manual_seed(5)
    environment = Crowding(["H", "O"])
    model = make("nonlinear", environment, {"H": -0.5, "O": -75.0})
    with torch.no_grad():
        environment.range.mul_(1.3)
    water = Structure.from_ase(molecule("H2O"))
    save(model, path, architecture="nonlinear", atoms={"H": -0.5, "O": -75.0})
    like = Crowding(["H", "O"])
    again = load(path, environment=like)
    torch.testing.assert_close(again(water).energy, model(water).energy.detach(), rtol=0, atol=1e-12)
    with torch.no_grad():
        environment.range.mul_(1.3)
    save(model, path, architecture="nonlinear", atoms={"H": -0.5, "O": -75.0})
    before, other = again(water).energy, load(path, environment=like)(water).energy
    assert abs(float(other - before)) > 1e-8
    torch.testing.assert_close(again(water).energy, before, rtol=0, atol=0)
    with pytest.raises(ValueError, match="`architecture` must be that of the model, got qeq"):
        save(model, tmp_path / "other.safetensors", architecture="qeq", atoms={"H": -0.5, "O": -75.0})
    for other in (None, Crowding(["H", "C"]), Crowding(["H", "O"], 5.0)):
        with pytest.raises(ValueError, match="`environment` must be like that of .*Crowding"):
            load(path, environment=other)


def test_an_environment_is_given_only_where_it_is_needed(saved):
    with pytest.raises(ValueError, match="`environment` must be left out, got Crowding"):
        load(saved[1], environment=Crowding(["H"]))


def test_a_loaded_model_warns_once_outside_its_training(saved):
    model = load(saved[1])
    model(frames(1)[0].structure)
    with pytest.warns(OutsideTraining, match="nearest neighbour"):
        model(stretched(frames(1)[0], "far").structure)
    model(stretched(frames(1)[0], "far").structure)
    with pytest.raises(ValueError, match="got N"):
        model(Structure.from_ase(molecule("NH3")))


def test_other_files_are_refused(saved, tmp_path):
    _, path = saved
    content = path.read_bytes()
    for cut in (4, len(content) // 2, len(content) - 8):
        (tmp_path / "cut.safetensors").write_bytes(content[:cut])
        with pytest.raises(ValueError, match=r"cut.safetensors must be a model that cgdft wrote, got a damaged"):
            load(tmp_path / "cut.safetensors")
    flipped = bytearray(content)
    flipped[-9] ^= 1
    (tmp_path / "flipped.safetensors").write_bytes(flipped)
    with pytest.raises(ValueError, match="flipped.safetensors must be as it was written, got a damaged file"):
        load(tmp_path / "flipped.safetensors")
    with pytest.raises(ValueError, match="must be of format 4, got 7"):
        load(changed(path, format=7))
    told = metadata(path)
    for other in ({"atoms": {"H": -0.6, "O": -75.0}}, {"environment": {**told["environment"], "cutoff": 7.0}}):
        with pytest.raises(ValueError, match="must be as it was written, got a damaged file"):
            load(changed(path, **other, checksum=told["checksum"]))
    older = {"e3nn": "0.4.4", "cgdft": "0.1.0"}
    assert load(changed(path, versions=older))(frames(1)[0].structure).energy.isfinite().all()
    with pytest.raises(ValueError, match=r"must be read with e3nn 0.4.4, with which it was written, got .* features differ by"):
        load(changed(path, versions=older, features=[1.001 * one for one in told["features"]]))
    with pytest.raises(ValueError, match="must hold the weights of the architecture les, got"):
        load(changed(path, architecture="les"))
    with pytest.raises(ValueError, match=r"is of the architecture mine.py, a file of its author's"):
        load(changed(path, architecture="mine.py"))
    with pytest.raises(FileNotFoundError, match="no model of this name"):
        load("nothing")


# Configs and commands.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data:\n  train: [a.xyz]\n", ":1: architecture: must be given"),
        ("architecture: qeq\n\ndata:\n  valid: 3\n", ":4: data.valid: is no key; did you mean validation?"),
        ("architecture: qeq\n\ndata:\n  valid: 3\n", ":3: data.train: must be given"),
        ("architecture: qeq\ndata: {train: [a]}\nenvironment:\n  channels: -1\n", ":4: environment.channels: must be greater"),
        ("architecture: qeq\ndata: {train: [a]}\nbatch_size: many\n", ":3: batch_size: must be a valid integer"),
        ("architecture: qeq\ndata: {train: [a]}\nweights:\n  force: 1\n", ":4: weights.force: must be of energy, forces"),
        ("architecture: qeq\ndata: {train: [a]}\nschedule:\n  exact: 1\n", ":4: schedule.exact: must be 'direct'"),
        ("architecture: qeq\ndata: {train: [a]}\ndata: {}\n", ":3: data: must stand once"),
        ("architecture: qeq\ndata: {train: [a]}\natoms: {h: -0.5}\n", ":3: atoms: must be of chemical symbols, got h"),
        ("architecture: qeq\ndata: {train: [a]}\ndevice: gpu\n", ":3: device: must be cpu, cuda or cuda:1, got 'gpu'"),
        ("architecture: qeq\ndata: {train: [a]}\ndevice: cuda:99\n", ":3: device: must be there, got 'cuda:99': torch"),
        ("architecture: qeq\ndata: {train: [a]\n", ":3: must be YAML"),
        ("- a\n", ":1: must be keys with values"),
        ("", ":1: must be keys with values"),
    ],
)
def test_a_bad_config_names_its_line(tmp_path, text, message, capsys):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as error:
        read_config(path)
    assert f"bad.yaml{message}" in str(error.value)
    assert main(["train", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_config_of_a_training(tmp_path):
    stated = read_config(config(tmp_path, "a"))
    assert stated.settings.schedule == {"direct": 2, "implicit": 4}
    assert stated.environment.cutoff == 5.0
    assert stated.settings == Settings(schedule={"direct": 2, "implicit": 4}, batch_size=4)


OWN = """
from cgdft.learning.architectures.les import model as les

def model(environment, atoms):
    return les(environment, atoms).replace(name="mine")
"""


def test_train_and_evaluate_an_architecture_of_ones_own(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(OWN)
    path = config(tmp_path, "own", 0)
    path.write_text(path.read_text().replace("nonlinear", str(tmp_path / "mine.py")))
    assert main(["train", str(path)]) == 0
    saved = tmp_path / "own" / "model.safetensors"
    assert load(saved, architecture=str(tmp_path / "mine.py")).name == "mine"
    assert main(["evaluate", str(saved), str(stored("water")), "--architecture", str(tmp_path / "mine.py")]) == 0
    assert main(["evaluate", str(saved), str(stored("water"))]) == 2
    assert "give it as `architecture`" in capsys.readouterr().err
    (tmp_path / "apart.py").write_text(
        f"{OWN}\ninner = model\ndef model(environment, atoms):\n    from cgdft.learning import "
        "MessagePassing\n    return inner(MessagePassing(environment.elements, 4, 1, 1), atoms)\n"
    )
    (tmp_path / "apart.yaml").write_text(path.read_text().replace("mine.py", "apart.py").replace("own", "apart"))
    assert main(["train", str(tmp_path / "apart.yaml")]) == 2
    assert "must be built on the environment that it is given, got MessagePassing" in capsys.readouterr().err
    (tmp_path / "mine.py").write_text(f"{OWN}\n# edited")
    with pytest.warns(UserWarning, match="mine.py is not as it was when .*model.safetensors was written"):
        load(saved, architecture=str(tmp_path / "mine.py"))
    assert main(["train", str(path)]) == 2
    assert "`code` of its origin is" in capsys.readouterr().err
    path.write_text(path.read_text().replace(str(tmp_path / "own"), str(tmp_path / "wrong")))
    (tmp_path / "mine.py").write_text(OWN.replace("    return", "    environment.features = lambda s: s.nonsense\n    return"))
    assert main(["train", str(path)]) == 2
    assert re.search("mine.py: AttributeError: .*nonsense.*, line 5\n", capsys.readouterr().err)
    (tmp_path / "mine.py").write_text("model = 3")
    assert main(["train", str(path)]) == 2
    assert "must define model(environment, atoms)" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*surroundings that the model:UserWarning")
def test_charges_of_another_definition_are_not_compared(tmp_path):
    """Nor found better or worse than they are."""
    (tmp_path / "set.yaml").write_text(
        f"data: {{train: [{written(tmp_path / 'a.xyz', [water(seed) for seed in range(6)])}], validation: 0.34}}\n"
        f"architecture: qeq\nenvironment: {{channels: 4, layers: 1}}\nschedule: {{implicit: 1}}\n"
        f"atoms: {{H: -0.5, O: -75.0}}\noutput: {tmp_path / 'run'}\n"
    )
    train(tmp_path / "set.yaml")
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
    (tmp_path / "set.yaml").write_text(
        f"data: {{train: [{written(tmp_path / 'a.xyz', frames)}], validation: 0.34, keys: {{dipole: mine}}}}\n"
        f"architecture: qeq\nenvironment: {{channels: 4, layers: 1}}\nschedule: {{implicit: 1}}\n"
        f"atoms: {{H: -0.5, O: -75.0}}\noutput: {tmp_path / 'run'}\n"
    )
    train(tmp_path / "set.yaml")
    for atoms in frames:
        del atoms.info["mine"]
    with pytest.warns(UserWarning, match="`keys` of dipole must be a name in the files, got 'mine'"):
        found = evaluate_files(tmp_path / "run" / "model.safetensors", [written(tmp_path / "b.xyz", frames)]).errors
    assert "forces" in found
    assert "dipole" not in found


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


@pytest.mark.filterwarnings("ignore:.*surroundings that the model:UserWarning")
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


def test_nothing_heavy_is_imported_for_help():
    code = "import sys, cgdft.cli\nassert cgdft.cli.main(['train', '--help']) == 0\nassert 'torch' not in sys.modules\n"
    running = process("-c", code)
    out, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    assert "CONFIG" in out


def test_a_trained_model_solves_on_the_command_line(tmp_path, capsys):
    """Its file is a model as any other; a damaged one is one line."""
    from ase.io import write

    torch.manual_seed(0)
    environment = MessagePassing(["H", "O"], channels=4, layers=1)
    path = tmp_path / "model.safetensors"
    save(make("qeq", environment, {"H": -0.5, "O": -75.0}), path, architecture="qeq", atoms={"H": -0.5, "O": -75.0})
    write(tmp_path / "water.xyz", molecule("H2O"))
    assert main(["solve", str(tmp_path / "water.xyz"), "--model", str(path)]) == 0
    assert "ShortRange" in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:100])
    assert main(["solve", str(tmp_path / "water.xyz"), "--model", str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert main(["solve", str(tmp_path / "water.xyz"), "--model", str(tmp_path / "none.safetensors")]) == 2
    assert "no file" in capsys.readouterr().err
