"""Training: exact continuation after a kill, several processes as one, failures, saved models, configs and commands."""

import json
import math
import os
import signal
import struct
import subprocess
import sys
import time

import pytest
import torch
from ase.build import molecule
from e3nn import o3

import cgdft
from cgdft import Model, Structure
from cgdft.ansatz import SplitCharges
from cgdft.cli import main
from cgdft.electrostatics.pairs import near_pairs
from cgdft.functionals import QEq
from cgdft.learning import Environment, Frame, MessagePassing
from cgdft.learning.architectures import make, names
from cgdft.learning.training import checkpoint as checkpoints
from cgdft.learning.training.config import Settings
from cgdft.learning.training.domain import OutsideTraining, ranges
from cgdft.learning.training.read_config import read_config
from cgdft.learning.training.run import train
from cgdft.learning.training.saving import load, metadata, save
from cgdft.learning.training.step import TrainingError
from cgdft.learning.training.trainer import Trainer
from cgdft.solver import Status
from cgdft.validation.suites import stored

ATOMS = {"H": -0.5, "O": -75.0}


def frames(n=4, first=0):
    """Displaced waters with the energies, forces and multipoles of QEq as a reference."""
    found = []
    for seed in range(first, first + n):
        atoms = molecule("H2O")
        atoms.rattle(0.05, seed=seed)
        structure = Structure.from_ase(atoms)
        solution = QEq()(structure)
        multipoles = torch.zeros(3, 4, dtype=torch.float64)
        multipoles[:, 0] = solution.charges.detach()
        labels = {"energy": solution.energy[0].detach() - 76.0, "forces": solution.forces().detach(), "multipoles": multipoles}
        found.append(Frame(f"water {seed}", structure, labels))
    return found


def network(seed=0, **changes):
    torch.manual_seed(seed)
    return MessagePassing(list(ATOMS), **{"channels": 4, "layers": 1, "dtype": torch.float64, **changes})


def trainer(name="qeq", train=None, output=None, model=None, on_best=None, **changes):
    environment = network()
    settings = Settings(**{"schedule": {"implicit": 3}, "batch_size": 2, "ema": 0.5, **changes})
    model = make(name, environment, ATOMS) if model is None else model(environment)
    return Trainer(model, environment, train or frames(), frames(2, 10), settings, output, on_best=on_best)


@pytest.mark.parametrize("name", names())
def test_losses_fall(name):
    trained = trainer(name, schedule={"direct": 4, "implicit": 8}, learning_rate=0.02).run()
    losses = [row["loss"] for row in trained.history]
    assert [row["way"] for row in trained.history] == ["direct"] * 4 + ["implicit"] * 8
    assert losses[3] < losses[0]
    assert losses[-1] < losses[4]
    best = min(trained.history, key=lambda row: row["validation_loss"])
    assert trained.epoch == best["epoch"]
    assert trained.evaluation.loss(Settings().weights) == pytest.approx(best["validation_loss"], rel=1e-6)


def test_unrolled_and_early_stopping():
    trained = trainer(schedule={"unrolled": 1, "implicit": 40}, patience=2, learning_rate=0.5).run()
    assert trained.history[0]["way"] == "unrolled"
    assert len(trained.history) == max(trained.epoch, 1) + 2 < 41
    assert not any(p.requires_grad for p in trained.model.parameters())


def test_what_cannot_be_trained_directly_is_trained_implicitly():
    bare = frames()
    del bare[2].labels["multipoles"]
    with pytest.warns(UserWarning, match="needs multipoles of every frame, got none for water 2"):
        assert trainer(train=bare, schedule={"direct": 1}).run().history[0]["way"] == "implicit"

    def split(environment):
        return make("qeq", environment, ATOMS).replace(ansatz=SplitCharges(hardness=0.1))

    with pytest.warns(UserWarning, match="got SplitCharges"):
        assert trainer(model=split, schedule={"direct": 1}).run().history[0]["way"] == "implicit"


# Going on.


CONFIG = """
data:
  train: [{data}]
  validation: 0.34
architecture: nonlinear
environment: {{channels: 4, layers: 1, dtype: float64}}
atoms: {{H: -0.6, O: -75.2}}
schedule: {{direct: 2, implicit: {epochs}}}
batch_size: 4
output: {output}
"""


def config(tmp_path, name, epochs=4):

    path = tmp_path / f"{name}.yaml"
    path.write_text(CONFIG.format(data=stored("water"), epochs=epochs, output=tmp_path / name))
    return path


def process(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def rows(path):
    head, *lines = (path / "log.csv").read_text().splitlines()
    return [dict(zip(head.split(","), line.split(","), strict=True)) for line in lines]


def test_a_killed_training_goes_on_exactly(tmp_path, capsys):
    whole, killed = config(tmp_path, "whole", 4), config(tmp_path, "killed", 4)
    running = process("-m", "cgdft", "train", killed)
    log = tmp_path / "killed" / "log.csv"
    began = time.time()
    while time.time() < began + 60 and not (log.exists() and len(log.read_text().splitlines()) > 2):
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert 2 <= len(rows(tmp_path / "killed")) < 6
    for path in (killed, whole):
        assert main(["train", str(path)]) == 0
    assert "best of 6 epochs" in capsys.readouterr().out
    assert (tmp_path / "killed" / "log.csv").read_bytes() == (tmp_path / "whole" / "log.csv").read_bytes()
    one, two = (load(tmp_path / name / "model.safetensors").state_dict() for name in ("killed", "whole"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert (tmp_path / "whole" / "parity.png").stat().st_size > 5000
    assert (tmp_path / "whole" / "loss.png").stat().st_size > 5000


def test_two_processes_are_one(tmp_path):
    both, alone = config(tmp_path, "both", 2), config(tmp_path, "alone", 2)
    running = process("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m", "cgdft", "train", both)
    assert main(["train", str(alone)]) == 0
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 0, errors
    for one, two in zip(rows(tmp_path / "both"), rows(tmp_path / "alone"), strict=True):
        assert one.keys() == two.keys()
        for name in one:
            if name not in ("way",) and one[name]:
                assert float(one[name]) == pytest.approx(float(two[name]), rel=1e-9)
    one, two = (load(tmp_path / name / "model.safetensors").state_dict() for name in ("both", "alone"))
    assert all(torch.allclose(one[name].double(), two[name].double(), atol=1e-6) for name in one)


def test_a_checkpoint_of_something_else_is_refused(tmp_path, monkeypatch):
    trainer(output=tmp_path).run()
    path = tmp_path / "checkpoint.pt"
    good = path.read_bytes()
    with pytest.raises(ValueError, match="`model` of its architecture is QEq, here LES"):
        trainer("les", output=tmp_path).run()
    with pytest.raises(ValueError, match="`learning_rate` of its settings is 0.005, here 0.1"):
        trainer(output=tmp_path, learning_rate=0.1).run()
    with pytest.raises(ValueError, match="its data is"):
        trainer(output=tmp_path, train=frames(3)).run()
    monkeypatch.setattr(checkpoints, "FORMAT", checkpoints.FORMAT + 1)
    with pytest.raises(ValueError, match="of format 3, got 2"):
        trainer(output=tmp_path).run()
    monkeypatch.undo()
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match="must be a checkpoint, got a file that cannot be read"):
        trainer(output=tmp_path).run()
    path.write_bytes(good)
    assert len(trainer(output=tmp_path).run().history) == 3


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    kept = {}

    def after_one(*_):
        kept["checkpoint"] = (tmp_path / "checkpoint.pt").read_bytes()
        monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OSError, match="No space left on device.; what was there before is intact"):
        trainer(output=tmp_path, on_best=after_one).run()
    monkeypatch.undo()
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept["checkpoint"]
    assert not list(tmp_path.glob(".checkpoint*"))
    assert len(trainer(output=tmp_path).run().history) == 3


@pytest.mark.filterwarnings("ignore:.*uniform field:UserWarning")
def test_a_training_begins_with_a_trained_model(tmp_path):
    first = config(tmp_path, "first", 1)
    assert main(["train", str(first)]) == 0
    trained = tmp_path / "first" / "model.safetensors"
    text = first.read_text().replace("environment: {channels: 4, layers: 1, dtype: float64}\natoms: {H: -0.6, O: -75.2}\n", "")
    text = text.replace("output:", f"learning_rate: 1.0e-12\nstart: {trained}\noutput:")

    def further(name, told=text):
        path = tmp_path / f"{name}.yaml"
        path.write_text(told.replace(str(tmp_path / "first") + "\n", str(tmp_path / name) + "\n"))
        return path

    assert main(["train", str(further("second"))]) == 0
    one, two = (load(path).state_dict() for path in (trained, tmp_path / "second" / "model.safetensors"))
    assert all(torch.allclose(one[name], two[name], rtol=0, atol=1e-9) for name in one)
    facts = metadata(tmp_path / "second" / "model.safetensors")
    assert facts["atoms"] == {"H": -0.6, "O": -75.2}
    assert facts["provenance"]["start"]["config"]["architecture"] == "nonlinear"
    assert facts["ranges"] == metadata(trained)["ranges"]
    with pytest.raises(ValueError, match="`architecture` must be that of .*first.*, nonlinear, got qeq"):
        train(further("third", text.replace("architecture: nonlinear", "architecture: qeq")))
    with pytest.raises(ValueError, match="yaml:6: environment: must be left out, it is that of `start`, got"):
        train(further("fourth", text.replace("schedule:", "environment: {channels: 8}\nschedule:")))
    with pytest.raises(ValueError, match="is of another training: its start is"):
        train(further("second", text.replace(str(trained), str(tmp_path / "second" / "model.safetensors"))))


@pytest.mark.filterwarnings("ignore:.*uniform field:UserWarning")
def test_a_start_must_know_the_elements(tmp_path):
    path = config(tmp_path, "silver")
    text = path.read_text().replace(str(stored("water")), str(stored("silver"))).replace("nonlinear", "qeq")
    text = text.replace(
        "environment: {channels: 4, layers: 1, dtype: float64}\natoms: {H: -0.6, O: -75.2}\n", "start: small-qeq\n"
    )
    path.write_text(text)
    with pytest.raises(ValueError, match="Ag"):
        train(path)


# Failures.


class Stubborn(Model):
    """Finds no minimum of structures that are stretched."""

    def forward(self, structure, start=None, throw=True):
        solution = super().forward(structure, start, throw)
        for s, one in enumerate(structure):
            if float((one.positions[1] - one.positions[0]).detach().norm()) > 3.0:
                solution.minimum.status[s] = Status.UNBOUNDED
        return solution


def stubborn(environment):
    model = make("qeq", environment, ATOMS)
    model.__class__ = Stubborn
    return model


def stretched(frame, name):
    structure = Structure(frame.structure.numbers, 1.8 * frame.structure.positions)
    return Frame(name, structure, frame.labels)


def test_a_frame_that_is_not_solved_is_named_and_counted(tmp_path):
    train = frames(4)
    train.append(stretched(train[0], "far apart"))
    trained = trainer(train=train, output=tmp_path, model=stubborn).run()
    assert [row["failed"] for row in trained.history] == [1, 1, 1]
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    log = (tmp_path / "train.log").read_text()
    assert "epoch 1: frame far apart left out: the energy has no minimum" in log
    train.append(stretched(train[1], "farther apart"))
    with pytest.raises(TrainingError, match="2 of 6 frames have no minimum, more than 1 %"):
        trainer(train=train, model=stubborn).run()


def test_a_loss_that_is_no_number_stops(tmp_path):
    train = frames()

    def poison(*_):
        train[1].labels["energy"].fill_(math.nan)

    with pytest.raises(TrainingError, match=r"must be a number, got energy nan; frames .*water 1"):
        trainer(train=train, output=tmp_path, on_best=poison).run()
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert len(state["history"]) == 1
    assert all(torch.isfinite(value).all() for value in state["weights"].values())


def test_bad_frames():
    with pytest.raises(ValueError, match="`validation` must hold at least one frame, got none"):
        Trainer(make("qeq", network(), ATOMS), network(), frames(1), [])
    with pytest.raises(ValueError, match="2 called 'water 0'"):
        trainer(train=[*frames(1), *frames(1)])
    with pytest.raises(TrainingError, match="`weights` must be of labels that frames have, got stress"):
        trainer(weights={"stress": 1.0}).run()


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
    """The file with other facts."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    facts = {**json.loads(header["__metadata__"]["cgdft"]), **changes}
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
    again = load(path, environment=Crowding(["H", "O"]))
    torch.testing.assert_close(again(water).energy, model(water).energy.detach(), rtol=0, atol=1e-12)
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
    with pytest.raises(ValueError, match="must be of format 1, got 7"):
        load(changed(path, format=7))
    with pytest.raises(ValueError, match=r"must be read with e3nn 0.4.4, with which it was written"):
        load(changed(path, versions={"e3nn": "0.4.4", "cgdft": "0.1.0"}))
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
    (tmp_path / "mine.py").write_text("model = 3")
    assert main(["train", str(path)]) == 2
    assert "must define model(environment, atoms)" in capsys.readouterr().err


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
