"""What a training cannot do is said before or where it happens, and nothing that it had is lost."""

import logging
import math
import re
import warnings
from dataclasses import replace

import pytest
import torch
from waters import config, frames, network, trainer

from cgdft import Model, Multipoles, Structure, TotalCharge
from cgdft.derivatives.observables import Undefined
from cgdft.functionals import Electronegativity, Hardness, Hartree, SpinHardness
from cgdft.learning import Frame, Scalar
from cgdft.learning.training.config import Settings
from cgdft.learning.training.curves import loss_figure, parity_figure
from cgdft.learning.training.domain import Guard, OutsideTraining, ranges
from cgdft.learning.training.output import Output
from cgdft.learning.training.read_config import read_config
from cgdft.learning.training.run import train
from cgdft.learning.training.step import TrainingError


def test_labels_of_the_density_alone_want_a_weight_of_stationarity_too():
    told = frames()
    for frame in told:
        frame.labels["dipole"] = torch.ones(3, dtype=torch.float64)
    with pytest.warns(UserWarning, match="not trained in direct epochs: dipole, learnt there by"):
        trainer(train=told, schedule={"direct": 1, "implicit": 1}, weights={"energy": 1.0, "dipole": 1.0})
    with warnings.catch_warnings(record=True) as found:  # of labels that are not there nothing is told
        warnings.simplefilter("always")
        trainer(schedule={"direct": 1, "implicit": 1}, weights={"energy": 1.0, "dipole": 1.0})
    assert not found
    with pytest.raises(ValueError, match="`schedule` must have implicit epochs for polarizability, got unrolled"):
        told[0].labels["polarizability"] = torch.eye(3, dtype=torch.float64)
        trainer(train=told, schedule={"unrolled": 1}, weights={"polarizability": 1.0})


def test_a_head_without_a_bound_stops_the_training_with_names():
    def unbound(environment):
        functional = Hartree() + Electronegativity(Scalar(environment)) + Hardness(Scalar(environment, 1e-9))
        return Model(functional, Multipoles(0, width=1.5), constraints=[TotalCharge()])

    weights = {"energy": 1.0, "multipoles": 1.0}
    with pytest.raises(TrainingError, match="must be a number, got inf; frames water .*; lower `learning_rate`"):
        steep = trainer()
        steep.parameters[0].register_hook(lambda slope: slope * math.inf)
        steep.run()
    with pytest.raises(TrainingError, match=r"epoch \d, frames water \d.*: `eta` must be at least zero, got .*positive=True"):
        trainer(model=unbound, schedule={"implicit": 8}, weights=weights, learning_rate=1.0).run()


def test_responses_that_bulk_does_not_have_are_left_out_where_no_weights_are_told():
    cell = 12.0 * torch.eye(3, dtype=torch.float64)
    told = [Frame(f.name, replace(f.structure, cell=cell[None], pbc=torch.ones(1, 3).bool()), dict(f.labels)) for f in frames()]
    for frame in told:
        frame.labels["polarizability"] = torch.eye(3, dtype=torch.float64)
    with pytest.warns(UserWarning, match="not trained: polarizability, see frame water 0: `polarizability` of bulk"):
        trained = trainer(train=told, schedule={"implicit": 1}).run()
    assert "loss_polarizability" not in trained.history[0]
    with pytest.raises(Undefined, match="leave polarizability out of `weights`"):
        trainer(train=told, weights={"energy": 1.0, "polarizability": 1.0}).run()


def test_a_model_has_one_environment():
    """Which is that of the training: of another one there is nothing to say."""
    with pytest.raises(ValueError, match="`model` must have one environment, .*, got MessagePassing, MessagePassing"):
        trainer(
            model=lambda environment: Model(
                Electronegativity(Scalar(environment)) + Hardness(Scalar(network(1), positive=True)), Multipoles(0, width=1.5)
            )
        )


def test_a_spin_that_the_electrons_cannot_have_is_refused():
    def with_spins(environment):
        functional = Hartree() + Hardness(Scalar(environment, 0.5, positive=True)) + SpinHardness({"H": 0.3, "O": 0.3})
        return Model(functional, Multipoles(0, width=1.5, spin=True))

    neutral = frames(2)
    ion = [Frame(one.name, replace(one.structure, charge=one.structure.charge + 1), one.labels) for one in neutral]
    weights = {"energy": 1.0}
    trainer(model=with_spins, train=neutral, weights=weights)
    with pytest.raises(ValueError, match="`spin` must be .* that 9 electrons can have, got 0 of frame water 0"):
        trainer(model=with_spins, train=ion, weights=weights)
    trainer(train=ion, weights=weights)


@pytest.mark.filterwarnings("ignore:.*uniform field:UserWarning", "ignore:labels that do not count")
def test_settings_of_a_file_that_cannot_be_meant(tmp_path):
    path = config(tmp_path, "run", 1)
    text = path.read_text()
    path.write_text(text.replace(f"output: {tmp_path / 'run'}", 'output: ""'))
    with pytest.raises(ValueError, match="output: must be a folder, got an empty name"):
        read_config(path)
    path.write_text(text.replace("layers: 1", "layers: 1, cutoff: 0.3"))
    with pytest.warns(UserWarning, match="`environment.cutoff` must be in angstrom, got 0.3, within which no atom"):
        train(path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"schedul": {"implicit": 3}}, r"^schedul: is no key; did you mean schedule\?$"),
        ({"learning_rate": -1.0, "clip": "x"}, "^learning_rate: must be greater than 0, got -1.0; clip: must be .*, got 'x'$"),
        ({"weights": {"stationarity": 1.0}}, "^weights: must have a label, by whose errors .*, got stationarity alone$"),
    ],
)
def test_settings_in_python_are_told_as_those_of_files(given, message):
    with pytest.raises(ValueError, match=message):
        Settings(**given)


def test_an_output_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="`output` must be a folder that can be written to, got .*file/run .*; choose another"):
        trainer(output=tmp_path / "file" / "run")
    path = config(tmp_path, "file", 1)
    path.write_text(path.read_text().replace(f"output: {tmp_path / 'file'}", f"output: {tmp_path / 'file' / 'run'}"))
    with pytest.raises(OSError, match="`output` must be a folder that can be written to"):
        train(path)


@pytest.mark.filterwarnings("ignore:.*uniform field:UserWarning")
def test_an_architecture_that_needs_more_of_the_environment(tmp_path):
    path = config(tmp_path, "run", 1)
    path.write_text(path.read_text().replace("layers: 1", "layers: 1, lmax: 0").replace("nonlinear", "response"))
    with pytest.raises(ValueError, match="`environment.lmax` must be at least 1 for response, got 0"):
        train(path)


def test_distances_that_differ_are_told_with_digits_that_do():
    environment, (frame,) = network(), frames(1)
    guard = Guard(ranges([frame], environment.cutoff), environment.cutoff)
    near = Structure(frame.structure.numbers, (1 - 1e-5) * frame.structure.positions)
    with pytest.warns(OutsideTraining, match="angstrom") as told:
        guard(environment, (near,))
    here, there = re.findall(r"\d\.\d+", str(told[0].message).partition("H ")[2])
    assert float(here) < float(there)
    assert len(here) > len("0.967")


def test_the_best_model_is_kept_before_figures_are_drawn(tmp_path, monkeypatch):
    """As in these something may be wrong: so the panel of a label that another process has seen alone."""
    kept = []
    monkeypatch.setattr(Output, "line", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer(output=tmp_path, on_best=lambda model, evaluation, epoch: kept.append(epoch)).run()
    assert kept == [1]
    evaluation = trainer(schedule={"implicit": 1}).run().evaluation
    assert len(parity_figure(evaluation).axes) == 3
    evaluation.errors["energy"].labels.clear()
    evaluation.errors["energy"].wrong.clear()
    assert len(parity_figure(evaluation).axes) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss_figure([{"epoch": 1, "way": "direct", "loss": 1.0, "validation_loss": math.inf}])


def test_a_full_disk_in_the_midst_of_an_epoch(tmp_path, monkeypatch, capsys):
    """What failed cannot be written down: that is said, without the logging module's traceback."""
    output = Output(tmp_path, True)
    log = logging.getLogger("cgdft.learning")

    def full(self, record):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logging.StreamHandler, "flush", lambda self: full(self, None))
    with pytest.raises(OSError, match="No space left"):
        log.warning("frame %s left out", "a")
    monkeypatch.undo()
    for handler in [one for one in log.handlers if isinstance(one, logging.FileHandler)]:
        log.removeHandler(handler)
        handler.close()
    assert "Traceback" not in capsys.readouterr().err
    assert output.writes
