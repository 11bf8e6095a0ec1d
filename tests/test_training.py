"""Training: exact continuation after a kill, several processes as one, starts from trained models, failures."""

import math
import os
import re
import shutil
import signal
import time
import warnings
from dataclasses import replace

import pytest
import torch
from ase.build import bulk
from waters import ATOMS, config, frames, network, process, stretched, stubborn, trainer

from cgdft import Structure
from cgdft.ansatz import SplitCharges
from cgdft.cli import main
from cgdft.learning import Frame, MessagePassing
from cgdft.learning.architectures import make, names
from cgdft.learning.training import checkpoint as checkpoints
from cgdft.learning.training.config import Settings
from cgdft.learning.training.distributed import world
from cgdft.learning.training.output import Output
from cgdft.learning.training.read_config import read_config
from cgdft.learning.training.run import train
from cgdft.learning.training.saving import load, metadata
from cgdft.learning.training.step import TrainingError
from cgdft.learning.training.trainer import Trainer
from cgdft.validation.suites import stored
from cgdft.writing import alone

pytestmark = pytest.mark.filterwarnings(
    "ignore:labels that do not count",
    "ignore:not trained. polarizability",
    "ignore:not learnt. charges, which no weight of local",
)
#: In the usual run.
QUICK = ("les", "qeq", "shared-response")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in names()])
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
    with pytest.warns(UserWarning, match="trained implicitly from the start: frame water 2 has no multipoles"):
        assert trainer(train=bare, schedule={"direct": 1}).run().history[0]["way"] == "implicit"

    def split(environment):
        return make("qeq", environment, ATOMS).replace(ansatz=SplitCharges())

    with pytest.warns(UserWarning, match="must have a stiffness of all that it changes"):
        assert trainer(model=split, schedule={"direct": 1}).run().history[0]["way"] == "implicit"
    bare[0].labels["polarizability"] = torch.eye(3, dtype=torch.float64)
    with warnings.catch_warnings(record=True) as told:  # not that the polarizability needs implicit epochs, which these are
        warnings.simplefilter("always")
        trainer(train=bare, schedule={"direct": 1}).run()
    assert not [one for one in told if "not trained" in str(one.message)]


# Going on.


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


@pytest.mark.parametrize(
    ("device", "place", "gpus", "joined"),
    [("cpu", 1, 1, "gloo"), ("cuda", 1, 2, "cpu:gloo,cuda:nccl"), ("cuda", 1, 1, None), ("cuda:1", 0, 2, None)],
)
def test_each_process_has_its_own_gpu(monkeypatch, device, place, gpus, joined):
    found = {}
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", str(place))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: found.update(gpu=index))
    for name, of in (("get_rank", lambda: place), ("destroy_process_group", lambda: None)):
        monkeypatch.setattr(torch.distributed, name, of)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend, **_: found.update(backend=backend))
    if joined is None:
        with pytest.raises(ValueError, match="`device` of 2 processes must be cuda with a GPU for each"), world(device):
            pass
        assert not found
        return
    with world(device) as processes:
        assert (processes.rank, processes.size) == (place, 2)
    assert found == {"backend": joined} | ({"gpu": place} if device == "cuda" else {})


def test_the_loss_of_stresses_does_not_depend_on_batches():
    """Of bulk and slabs, which have other numbers of entries."""
    found = []
    for k in range(4):
        atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
        atoms.rattle(0.1, seed=k)
        atoms.pbc[2] = k % 2
        labels = {"stress": (1e-3 * k * torch.ones(3, 3)).double(), "energy": torch.tensor(0.1 * k, dtype=torch.float64)}
        found.append(Frame(f"{k}", Structure.from_ase(atoms), labels))
    environment = MessagePassing(["Na", "Cl"], channels=4, layers=1, dtype=torch.float64)
    losses = []
    for size in (1, 2, 3, 4):
        torch.manual_seed(0)
        model = make("local", environment, dict.fromkeys(environment.elements, 0.0))
        settings = Settings(schedule={"implicit": 1}, batch_size=size, learning_rate=1e-12, weights={"stress": 1.0})
        trained = Trainer(model, found, found, settings).run()
        losses += [trained.history[0]["loss"], trained.history[0]["validation_loss"]]
    assert losses == pytest.approx([losses[0]] * 8, rel=1e-6)


def test_direct_training_of_charges_wants_a_weight_of_stationarity():
    with pytest.warns(UserWarning, match="not trained in direct epochs: multipoles"):
        trainer(schedule={"direct": 1, "implicit": 1}, weights={"energy": 1.0, "multipoles": 1.0})


@pytest.mark.parametrize("way", ["implicit", "direct", "unrolled"])
def test_molecules_far_apart_keep_their_charge(way):
    """A weight of what is shared: then there is nothing that a molecule could give to another one far away."""
    weights = {"energy": 1.0, "multipoles": 1.0, "stationarity": 1.0, "excess": 10.0}
    told = {"weights": weights, "schedule": {way: 40}, "learning_rate": 0.02}
    trained = trainer("shared-response", **told).run()
    assert trained.history[-1]["loss_excess"] < 1e-2 * trained.history[0]["loss_excess"]
    water, other = (frame.structure for frame in frames(2, 20))
    pair = Structure(torch.cat([water.numbers] * 2), torch.cat([water.positions, other.positions + 500.0]))
    assert abs(float(trained.model(pair).charges[:3].sum())) < 2e-3
    with pytest.raises(ValueError, match="`weights` must have excess for models with `SharedExcess` alone, got QEq"):
        trainer(**told)


def test_labels_that_nothing_can_learn_stop_the_training():
    with pytest.raises(TrainingError, match="labels that the model's own weights change, got charges of local"):
        trainer("local", weights={"multipoles": 1.0}, schedule={"implicit": 2}).run()


def test_labels_that_an_architecture_cannot_learn_are_told_once():
    told = [replace(frame, labels={**frame.labels, "dipole": torch.ones(3).double()}) for frame in frames()]
    weights = {"energy": 1.0, "multipoles": 1.0, "dipole": 1.0}
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        trainer("local", train=told, weights=weights, schedule={"implicit": 2}).run()
        trainer("qeq", train=told, weights=weights, schedule={"direct": 1, "implicit": 1}).run()
    notes = [str(one.message) for one in found if "not learnt" in str(one.message)]
    assert notes == ["not learnt: charges, dipole, which no weight of local changes"]


def test_labels_of_the_minimum_wait_for_it():
    told = [replace(frame, labels={**frame.labels, "chemical_potential": torch.tensor(-0.1)}) for frame in frames()]
    own = {"train": told, "weights": {"chemical_potential": 1.0}}
    with pytest.warns(UserWarning, match="trained implicitly from the start: chemical_potential are of the minimum"):
        history = trainer("qeq", schedule={"direct": 1, "implicit": 1}, **own).run().history
    assert [row["way"] for row in history] == ["implicit"] * 2
    with pytest.warns(UserWarning, match="not trained: chemical_potential need implicit epochs"):
        trainer("qeq", schedule={"direct": 1}, **{**own, "weights": {"chemical_potential": 1.0, "energy": 1.0}})


def test_a_checkpoint_of_something_else_is_refused(tmp_path, monkeypatch):
    trainer(output=tmp_path).run()
    path = tmp_path / "checkpoint.pt"
    good = path.read_bytes()
    with pytest.raises(ValueError, match="`model` of its architecture is QEq, here LES; give another `output`, or remove it"):
        trainer("les", output=tmp_path).run()
    with pytest.raises(ValueError, match="`learning_rate` of its settings is 0.005, here 0.1"):
        trainer(output=tmp_path, learning_rate=0.1).run()
    with pytest.raises(ValueError, match="its data is"):
        trainer(output=tmp_path, train=frames(3)).run()
    monkeypatch.setattr(checkpoints, "FORMAT", checkpoints.FORMAT + 1)
    with pytest.raises(ValueError, match=f"of format {checkpoints.FORMAT}, got {checkpoints.FORMAT - 1}"):
        trainer(output=tmp_path).run()
    monkeypatch.undo()
    for part in (0.0, 0.2, 0.5, 0.9):
        path.write_bytes(good[: int(part * len(good))])
        with pytest.raises(ValueError, match="must be a checkpoint, got a file that cannot be read"):
            trainer(output=tmp_path).run()
    for place in (len(good) // 3, len(good) // 2, len(good) - 40):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(ValueError, match="cannot be read .its checksum is another"):
            trainer(output=tmp_path).run()
    path.write_bytes(good)
    assert len(trainer(output=tmp_path).run().history) == 3


def test_two_trainings_do_not_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("cgdft.writing.PATIENCE", 0.0)
    path = config(tmp_path, "run", epochs=1)
    folder = read_config(path).output
    with alone(folder), pytest.raises(ValueError, match="a folder of its own, got .*, where another training is running"):
        train(path)


def test_what_a_killed_training_had_half_written_goes(tmp_path):
    half = tmp_path / f".checkpoint.pt.{32 * 'a'}.part"
    half.write_text("half")
    with alone(tmp_path):
        assert not half.exists()


def test_a_folder_that_is_removed_is_made_again(tmp_path):
    output = Output(tmp_path / "run", writes=True)
    shutil.rmtree(tmp_path / "run")
    output.checkpoint({"epoch": 1})
    assert (tmp_path / "run" / "checkpoint.pt").is_file()


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
    own, other = tmp_path / "second" / "model.safetensors", tmp_path / "other.safetensors"
    other.write_bytes(own.read_bytes())
    for start, message in {
        own: "must not be the folder of `start`",
        other: "is of another training: `start` of its origin is",
    }.items():
        with pytest.raises(ValueError, match=message):
            train(further("second", text.replace(str(trained), str(start))))


CHANGES = [
    ("lmax: 1", "lmax: 1, cutoff: 4.0", "`cutoff` of its origin"),
    ("O: -75.2", "O: -75.3", "`atoms` of its origin is {'H': -0.6, 'O': -75.2}, here {'H': -0.6, 'O': -75.3}"),
    ("dtype: float64", "dtype: float32", "`network` of its origin"),
]


@pytest.mark.filterwarnings("ignore:.*uniform field:UserWarning")
def test_a_training_goes_on_with_the_same_model_alone(tmp_path):
    path = config(tmp_path, "one", 0)
    text = path.read_text().replace("channels: 4", "channels: 4, lmax: 1").replace("direct: 2", "direct: 1")
    path.write_text(text)
    train(path)
    before = (tmp_path / "one" / "model.safetensors").read_bytes()
    for stated, now, message in CHANGES:
        assert stated in text
        path.write_text(text.replace(stated, now))
        with pytest.raises(ValueError, match=re.escape(message)):
            train(path)
        assert (tmp_path / "one" / "model.safetensors").read_bytes() == before


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


def test_a_training_without_minima_for_validation_is_no_success(tmp_path):
    """Direct epochs solve nothing, and may so end in a functional without a minimum: no model, and an error that says why."""
    kept, train = [], frames(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TrainingError) as stopped:
            far = [stretched(frame, f"far {k}") for k, frame in enumerate(frames(3, 10))]
            model, settings = stubborn(network()), Settings(schedule={"direct": 2}, batch_size=2)
            Trainer(model, train, far, settings, tmp_path, on_best=lambda *_: kept.append(1)).run()
    told = str(stopped.value)
    assert "epoch 1, the best of 2: 3 of 3 frames of validation have no minimum" in told
    assert told.count("the energy has no minimum") == 1
    assert "far 0, far 1, far 2: the energy" in told
    assert not kept
    log = (tmp_path / "train.log").read_text().splitlines()
    assert all(line.count("the energy has no minimum") == 1 for line in log if "left out" in line)


def test_a_loss_that_is_no_number_stops(tmp_path):
    train = frames()

    def poison(*_):
        train[1].labels["energy"].fill_(math.nan)

    with pytest.raises(TrainingError, match=r"must be a number, got energy nan; frames .*water 1"):
        trainer(train=train, output=tmp_path, on_best=poison).run()
    state = checkpoints.read(tmp_path / "checkpoint.pt", {})
    assert len(state["history"]) == 1
    assert all(torch.isfinite(value).all() for value in state["weights"].values())


def test_bad_frames():
    with pytest.raises(ValueError, match="`validation` must hold at least one frame, got none"):
        Trainer(make("qeq", network(), ATOMS), frames(1), [])
    with pytest.raises(TypeError, match="`train` must be a FrameSet or a list of Frame objects, got MessagePassing"):
        Trainer(make("qeq", network(), ATOMS), network(), frames(1))
    with pytest.raises(ValueError, match="2 called 'water 0'"):
        trainer(train=[*frames(1), *frames(1)])
    with pytest.raises(TrainingError, match="`weights` must be of labels that frames have, got stress"):
        trainer(weights={"stress": 1.0}).run()
