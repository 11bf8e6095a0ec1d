"""Trained models in files, and the commands that make and use them."""

import json
import re
import struct

import pytest
import torch
from ase.build import molecule
from safetensors.torch import load_file, save_file
from waters import Crowding, config, frames, process, stretched, written_model

import cgdft
from cgdft import Structure
from cgdft.cli import main
from cgdft.functionals import QEq
from cgdft.learning import MessagePassing
from cgdft.learning.architectures import make
from cgdft.learning.training.config import Config, Settings
from cgdft.learning.training.domain import OutsideTraining
from cgdft.learning.training.read_config import read_config
from cgdft.learning.training.saving import FORMAT, checksum, environment_of, load, metadata, save
from cgdft.validation.suites import stored

# Saved models.


@pytest.fixture
def saved(tmp_path):
    return written_model(tmp_path)


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
    assert metadata(path)["features"] is not None

    def refuse(structure):
        raise ValueError("`structure` must be periodic")

    environment.features = refuse
    save(model, path, architecture="nonlinear", atoms={"H": -0.5, "O": -75.0})
    assert metadata(path)["features"] is None
    torch.testing.assert_close(load(path, environment=like)(water).energy, other, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="its environment refused a structure to compare features of"):
        load(changed(path, versions={"e3nn": "0.4.4", "cgdft": "0.1.0"}), environment=like)
    with pytest.raises(ValueError, match="`architecture` must be that of the model, got qeq"):
        save(model, tmp_path / "other.safetensors", architecture="qeq", atoms={"H": -0.5, "O": -75.0})
    for other in (None, Crowding(["H", "C"]), Crowding(["H", "O"], 5.0)):
        with pytest.raises(ValueError, match="`environment` must be like that of .*Crowding"):
            load(path, environment=other)


def test_only_models_with_a_network_are_saved(saved, tmp_path):
    path = tmp_path / "none.safetensors"
    with pytest.raises(ValueError, match=r"got QEq without one: keep it as a Python file .* torch.save\(model.state_dict\(\)"):
        save(QEq(), path)
    with pytest.raises(TypeError, match="`architecture` and `atoms` must be what the model was made with, got None and None"):
        save(saved[0], path)
    assert not path.exists()


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


def test_other_files_are_refused(saved, tmp_path, monkeypatch):
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
    for read in (load, metadata):
        with pytest.raises(ValueError, match=f"must be of format {FORMAT}, got {FORMAT + 1}"):
            read(changed(path, format=FORMAT + 1))
    half = {name: one.bfloat16() for name, one in load_file(path).items()}
    save_file(half, tmp_path / "half.safetensors", {"cgdft": json.dumps(metadata(path))})
    with pytest.raises(ValueError, match="half.safetensors must be a model that cgdft wrote"):
        load(tmp_path / "half.safetensors")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small-qeq").write_bytes(content)  # a file of that name is ./small-qeq
    assert "Cl" in environment_of(load("small-qeq")).elements
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
        (
            "architecture: qeq\ndata: {train: [a]}\nstart: own/model.safetensors\noutput: own\n",
            ":4: output: must not be the folder of `start`, which is written over, got own",
        ),
        (
            "architecture: qeq\ndata: {train: [a]}\nstart: run/model.safetensors\n",
            ":1: output: must not be the folder of `start`, which is written over, got run",
        ),
        ("architecture: qeq\ndata: {train: [a]}\nbatch_size: true\n", ":3: batch_size: must not be true or false, got True"),
        (
            "architecture: qeq\ndata: {train: [a]}\nweights: {energy: true}\n",
            ":3: weights: must be numbers, got true or false for",
        ),
        ("architecture: qeq\ndata: {train: [a]}\n\non: 1\n", ":4: keys must be words, got on; in quotes it is one"),
        (
            "architecture: qeq\ndata: {train: [a]}\nstart: small-qeq\nenvironment:\n  channels: 8\n",
            ":4: environment: must be left out, it is that of `start`",
        ),
        ("architecture: qeqs\ndata: {train: [a]}\n", ":1: architecture: must be one of les, local, "),
        ("architecture: no.py\ndata: {train: [a]}\n", "or a Python file that is there, got 'no.py'"),
        ("architecture: qeq\ndata:\n  train:\n  - a\n  - b\n", ":5: data.train.1: must be a file that is there, got 'b'"),
        ("architecture: qeq\ndata: {train: [a],\n validation: c}\n", ":3: data.validation: must be a file that is there"),
        ("architecture: qeq\ndata: {train: [a],\n validation: 2}\n", ":3: data.validation: must be less than 1, got 2"),
        ("architecture: qeq\ndata: {train: [a]}\nstart: small\n", ":3: start: must be one of small-qeq, small-response, or "),
        ("architecture: qeq\ndata: {train: [a]}\nenvironment: {mace: b}\n", ":3: environment.mace: must be a file that is"),
        (f"architecture: qeq\ndata: {{train: {'a' * 300}}}\n", ":2: data.train: must be a file that is there, got 'aaaa"),
        ("architecture: qeq\ndata: {train: [a]\n", ":3: must be plain YAML"),
        ("architecture: &a qeq\ndata:\n  train: *a\n", ":3: must be plain YAML, got something else: an alias, *a"),
        ("architecture: qeq\noutput: 2024-13-45\n", ": must be plain YAML in UTF-8, got something else: month"),
        ("architecture: " + 1000 * "[", ": must be plain YAML in UTF-8, got something else: maximum recursion"),
        ("- a\n", ":1: must be keys with values"),
        ("", ":1: must be keys with values"),
    ],
)
def test_a_bad_config_names_its_line(tmp_path, text, message, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for there in ("a", "own/model.safetensors", "run/model.safetensors"):
        (tmp_path / there).parent.mkdir(exist_ok=True)
        (tmp_path / there).touch()
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as error:
        read_config(path)
    assert (f"bad.yaml{message}" if message[0] == ":" else message) in str(error.value)
    assert main(["train", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_files_of_a_config_in_any_form(tmp_path):
    (tmp_path / "a").touch()
    for given in (tmp_path / "a", str(tmp_path / "a"), (tmp_path / "a",), [tmp_path / "a"]):
        told = Config(data={"train": given, "validation": given}, architecture="qeq").data
        assert told.train == told.validation == [tmp_path / "a"]


def test_config_of_a_training(tmp_path):
    stated = read_config(config(tmp_path, "a"))
    assert stated.settings.schedule == {"direct": 2, "implicit": 4}
    assert stated.environment.cutoff == 5.0
    assert stated.settings == Settings(schedule={"direct": 2, "implicit": 4}, batch_size=4)


OWN = """
import names_of_mine
from cgdft.learning.architectures.les import model as les

def model(environment, atoms):
    return les(environment, atoms).replace(name=names_of_mine.name)
"""


def test_train_and_evaluate_an_architecture_of_ones_own(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "names_of_mine.py").write_text('name = "mine"')
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
    (tmp_path / "names_of_mine.py").write_text('name = "yours"')
    with pytest.warns(UserWarning, match="mine.py is not as it was when .*model.safetensors was written"):
        load(saved, architecture=str(tmp_path / "mine.py"))
    (tmp_path / "names_of_mine.py").write_text('name = "mine"')
    (tmp_path / "mine.py").write_text(f"{OWN}\n# edited")
    with pytest.warns(UserWarning, match="mine.py is not as it was when .*model.safetensors was written"):
        load(saved, architecture=str(tmp_path / "mine.py"))
    assert main(["train", str(path)]) == 2
    assert "`code` of its origin is" in capsys.readouterr().err
    path.write_text(path.read_text().replace(str(tmp_path / "own"), str(tmp_path / "wrong")))
    (tmp_path / "mine.py").write_text(OWN.replace("    return", "    environment.features = lambda s: s.nonsense\n    return"))
    assert main(["train", str(path)]) == 2
    assert re.search("mine.py: AttributeError: .*nonsense.*, line 6\n", capsys.readouterr().err)
    (tmp_path / "mine.py").write_text("model = 3")
    assert main(["train", str(path)]) == 2
    assert "must define model(environment, atoms)" in capsys.readouterr().err


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


def test_energies_of_free_atoms_are_those_of_the_model(tmp_path):
    model = make("qeq", MessagePassing(["H", "O"], channels=4), {"H": -0.5, "O": -75.0})
    with pytest.raises(ValueError, match="`atoms` must be what the model was made with, .*-0.5.*, got .*-0.6"):
        save(model, tmp_path / "a.safetensors", architecture="qeq", atoms={"H": -0.6, "O": -75.0})
