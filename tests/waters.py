"""Waters with the energies, forces and multipoles of QEq, and trainings on them."""

import os
import subprocess
import sys

import torch
from ase.build import molecule
from e3nn import o3

from cgdft import Model, Structure
from cgdft.electrostatics.pairs import near_pairs
from cgdft.functionals import QEq
from cgdft.learning import Environment, Frame, MessagePassing
from cgdft.learning.architectures import make
from cgdft.learning.training.config import Settings
from cgdft.learning.training.domain import ranges
from cgdft.learning.training.saving import save
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
    return Trainer(model, train or frames(), frames(2, 10), settings, output, on_best=on_best)


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


def stretched(frame, name):
    structure = Structure(frame.structure.numbers, 1.8 * frame.structure.positions)
    return Frame(name, structure, frame.labels)


class Stubborn(Model):
    """Finds no minimum of structures that are stretched."""

    def solve(self, problem, start=None, throw=True):
        solver, minimum = super().solve(problem, start, throw)
        for s, one in enumerate(problem.structure):
            if float((one.positions[1] - one.positions[0]).detach().norm()) > 3.0:
                minimum.status[s] = Status.UNBOUNDED
        return solver, minimum


def stubborn(environment):
    model = make("qeq", environment, ATOMS)
    model.__class__ = Stubborn
    return model


def process(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


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


def written_model(tmp_path):
    """A model with random weights, and its file."""
    environment = network()
    model = make("nonlinear", environment, ATOMS)
    path = tmp_path / "model.safetensors"
    seen = ranges(frames(), environment.cutoff)
    save(model, path, architecture="nonlinear", atoms=ATOMS, ranges=seen, provenance={"seed": 3})
    return model, path
