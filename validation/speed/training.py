"""Time of a training step, self-consistent against local, and against mace-torch: `python -m cgdft.validation.speed.training`.

A step is the loss of energies and forces (and multipoles, where a model has them), its gradient by all weights and one update
by Adam, of 4 disordered structures of 64 atoms. The networks have two messages of 32 channels up to l = 1, seeing 5 angstrom,
in float32; MACE's have correlation order 1 and 3. Ratios are medians over steps of a model, each after a step of the local one,
so that what else the machine does slows both. Memory is the most that a process of its own has held, libraries included.
Peers run in the interpreter given by `--python`, one thread each.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule

from cgdft.learning import Batch, Frame, MessagePassing
from cgdft.learning.architectures import make, names
from cgdft.learning.training.loss import parts, wanted
from cgdft.learning.training.schedules import implicit
from cgdft.structure import Structure

CHANNELS, CUTOFF, BATCH, STEPS = 32, 5.0, 4, 15  # cutoff in angstrom
WEIGHTS = {"energy": 1.0, "forces": 1.0, "multipoles": 1.0, "stationarity": 1.0}


def salt(seed: int) -> Atoms:
    """64 ions of a periodic salt."""
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True) * (2, 2, 2)
    atoms.rattle(0.15, seed=seed)
    return atoms


def droplet(seed: int) -> Atoms:
    """21 waters in open space, 63 atoms."""
    rng = np.random.default_rng(seed)
    cluster = Atoms()
    for k in range(21):
        one = molecule("H2O")
        one.rotate(rng.uniform(0, 360), rng.standard_normal(3))
        one.translate(3.1 * np.array([k % 3, k // 3 % 3, k // 9]) + 0.1 * rng.standard_normal(3))
        cluster += one
    return cluster


SYSTEMS = {"salt, periodic": salt, "water, open": droplet}


def frames(make_atoms: Callable[[int], Atoms]) -> list[Frame]:
    """Structures with labels at random: their values do not matter for the time."""
    found = []
    for seed in range(BATCH):
        structure = Structure.from_ase(make_atoms(seed))
        generator = torch.Generator().manual_seed(seed)
        labels = {
            "energy": torch.tensor(0.0, dtype=torch.float64),
            "forces": 0.01 * torch.randn(structure.n_atoms, 3, generator=generator, dtype=torch.float64),
            "multipoles": 0.1 * torch.randn(structure.n_atoms, 4, generator=generator, dtype=torch.float64),
        }
        found.append(Frame(f"{seed}", structure, labels))
    return found


def stepping(architecture: str, batch: Batch, elements: list[str]) -> Iterator[float]:
    """Seconds of each step of one training."""
    torch.manual_seed(0)
    environment = MessagePassing(elements, channels=CHANNELS)
    model = make(architecture, environment, dict.fromkeys(elements, 0.0))
    weights = {"energy": 1.0, "forces": 1.0} if architecture in ("local", "les") else WEIGHTS
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)
    start = None
    while True:
        begun = time.perf_counter()
        prediction = implicit(model, batch, wanted(batch, weights), start)
        loss = torch.stack(list(parts(prediction, weights).values())).sum()
        optimiser.zero_grad()
        loss.backward(inputs=[w for w in model.parameters() if w.requires_grad])
        optimiser.step()
        start = prediction.minimum
        yield time.perf_counter() - begun


def measured(architecture: str, title: str, beside: str | None = None) -> tuple[float, float, float]:
    """Seconds of a step, its ratio to one of another that ran just before it, and the most MiB that this process has held."""
    torch.set_num_threads(1)
    set_of = frames(SYSTEMS[title])
    elements = sorted({symbol for frame in set_of for symbol in frame.structure.symbols})
    batch = Batch.of(set_of, [MessagePassing(elements, channels=1).cutoff])
    ways = [stepping(one, batch, elements) for one in (architecture, beside or architecture)]
    times = [[next(way) for way in ways] for _ in range(STEPS + 2)][2:]
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return statistics.median(own for own, _ in times), statistics.median(own / other for own, other in times), most


def apart(architecture: str, title: str, beside: str | None = None) -> tuple[float, float, float]:
    """`measured` in a process of its own, so that memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measured, architecture, title, beside).result()


def main() -> None:
    """Print time and memory of each architecture, and the ratio of its time to the local one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="interpreter of an environment with mace-torch")
    arguments = parser.parse_args()
    for title, make_atoms in SYSTEMS.items():
        local, _, memory = apart("local", title)
        print(f"{title}: {BATCH} structures of {len(make_atoms(0))} atoms, one thread")
        print(f"  {'local':32} {1e3 * local:8.0f} ms {memory:6.0f} MiB")
        for name in names():
            if name != "local":
                _, ratio, _ = apart(name, title, "local")
                took, _, memory = apart(name, title)
                print(f"  {name:32} {1e3 * took:8.0f} ms {memory:6.0f} MiB  {ratio:5.2f} of local", flush=True)
        if arguments.python:
            script = Path(__file__).parent / "adapters" / "train_mace.py"
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            path = Path("mace_step.xyz").resolve()
            from ase.io import write

            write(path, [make_atoms(seed) for seed in range(BATCH)])
            command = [arguments.python, str(script), str(path), str(CHANNELS), str(CUTOFF), str(STEPS)]
            print(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout, end="")
            path.unlink()


if __name__ == "__main__":
    main()
