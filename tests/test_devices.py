"""Everything stays on the device of its input, in training and derivatives: one that is none, and a GPU if there is one."""

import copy
from contextlib import contextmanager

import pytest
import torch
from ase.build import bulk, molecule
from elsewhere import elsewhere
from every_solver import SOLVERS
from named import MODELS, known, made
from test_terms import TERMS, WIDTHS

from cgdft import Density, Minimisation, Model, Multipoles, Structure
from cgdft.functionals import Electronegativity, Hardness, Hartree, Operator, QEq
from cgdft.learning import Batch, Frame, MessagePassing, Settings, Trainer
from cgdft.learning.architectures import make, names
from cgdft.learning.training.loss import parts, wanted
from cgdft.learning.training.schedules import direct, implicit, unrolled
from cgdft.slopes import slope
from cgdft.solvers import CG, long_waves
from cgdft.units import angstrom
from cgdft.validation.speed.systems import thick_slab

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
QUICK = ("les", "local-charges", "shared-response")
DEVICES = pytest.mark.parametrize("kind", ["stand-in", pytest.param("cuda", marks=GPU)])
WHERE = [pytest.param(False, id="open"), pytest.param(True, id="periodic", marks=pytest.mark.slow)]


def frames(periodic, n=2):
    """Disordered waters, or cells of rock salt, with labels at random."""
    found = []
    for seed in range(n):
        atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True) if periodic else molecule("H2O")
        atoms.rattle(0.05, seed=seed)
        structure, draw = Structure.from_ase(atoms), torch.Generator().manual_seed(seed)

        def drawn(*shape, draw=draw):
            return 0.1 * torch.randn(shape, generator=draw, dtype=torch.float64)

        atoms = structure.n_atoms
        labels = {"energy": drawn(), "forces": drawn(atoms, 3), "multipoles": drawn(atoms, 4)}
        more = {"stress": drawn(3, 3)} if periodic else {"dipole": drawn(3), "polarizability": torch.diag(1 + drawn(3))}
        found.append(Frame(f"{seed}", structure, labels | more))
    return found


@contextmanager
def device_of(kind):
    """The device, inside."""
    if kind == "cuda":
        yield torch.device("cuda:0")
        return
    with elsewhere() as device:
        yield device


def network(elements):
    torch.manual_seed(0)
    return MessagePassing(elements, channels=4)


@DEVICES
@pytest.mark.parametrize("periodic", WHERE)
@pytest.mark.parametrize(
    ("name", "way"),
    [
        *(pytest.param(name, implicit, marks=[] if name in QUICK else pytest.mark.slow) for name in names()),
        pytest.param("nonlinear", direct, marks=pytest.mark.slow),
        pytest.param("nonlinear", unrolled(3), marks=pytest.mark.slow),
        pytest.param("response", direct, marks=pytest.mark.slow),
    ],
)
def test_steps_of_training(name, way, periodic, kind):
    some = frames(periodic)
    elements = sorted({symbol for frame in some for symbol in frame.structure.symbols})

    def step(device):
        environment = network(elements)
        model = make(name, environment, dict.fromkeys(elements, 0.0)).to(device)
        batch = Batch.of(some, [environment.cutoff]).beside(model)
        weights = dict.fromkeys(some[0].labels, 1.0) | {"stationarity": 1.0}
        if way is not implicit:
            weights.pop("polarizability", None)
        prediction = way(model, batch, wanted(batch, weights), None)
        loss = torch.stack(list(parts(prediction, weights).values())).sum()
        loss.backward()
        gradient = torch.stack([p.grad.square().sum() for p in model.parameters() if p.grad is not None]).sum()
        assert loss.device == gradient.device == torch.device(device)
        return float(loss.detach()), float(gradient)

    here = step("cpu")
    with device_of(kind) as device:
        assert step(device) == pytest.approx(here, rel=1e-4)  # weights are of single precision


@DEVICES
@pytest.mark.parametrize("name", TERMS)
def test_terms(name, kind):
    """Energy and its derivatives by density and positions, of a molecule and a cell."""
    basis = Multipoles(2, width=WIDTHS, spin=name == "SpinHardness")
    for periodic in (False, True):
        structure = frames(periodic, 1)[0].structure
        p = 0.1 * torch.randn(structure.n_atoms, basis.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

        def found(device, structure=structure, p=p):
            there, term = structure.to(device), copy.deepcopy(TERMS[name]).to(device)
            at = there.positions.clone().requires_grad_()
            there = there.holding(positions=at)
            rho = Density(there, basis.prepare(there), p.to(device))
            prepared = term.prepare(there, rho.basis)
            energy = prepared.energy(rho)
            values = [energy.detach(), slope(energy.sum(), at), prepared.gradient(rho).detach(), prepared.hessian(rho).detach()]
            assert all(value.device == torch.device(device) for value in values)
            return [value.cpu() for value in values]

        here = found("cpu")
        with device_of(kind) as device:
            for one, two in zip(here, found(device), strict=True):
                torch.testing.assert_close(two, one, rtol=1e-8, atol=1e-9)


@DEVICES
@pytest.mark.parametrize("name", SOLVERS)
def test_solvers(name, kind):
    structure = frames(periodic=False, n=1)[0].structure
    model = QEq().replace(solver=SOLVERS[name])
    here = model(structure).charges
    with device_of(kind) as device:
        there = model.to(device)(structure.to(device))
        torch.testing.assert_close(there.charges.cpu(), here, rtol=0, atol=1e-8)
    torch.testing.assert_close(model.cpu()(structure).charges, here)


@DEVICES
@pytest.mark.parametrize("matrix", [False, True], ids=["iterating", "as a matrix"])
def test_long_waves(matrix, kind, monkeypatch):
    """A slab of metal with water on it: meshes and matrices of the preconditioner are on the processor, all else is there."""
    monkeypatch.setattr(long_waves.LongWaves, "_cost_of_matrix", lambda self: 0.0 if matrix else float("inf"))
    system = thick_slab(1)
    cell = torch.diag(torch.tensor(system.box)) * angstrom
    structure = Structure(torch.tensor(system.numbers), torch.tensor(system.positions) * angstrom, cell, system.pbc)
    terms = Electronegativity({"H": 0.1, "O": 0.3, "Au": 0.15}) + Hardness(0.05)
    model = Model(Hartree(operator=Operator.MESH) + terms, Multipoles(width=1.9), solver=CG(1e-10))
    here = model(structure)
    with device_of(kind) as device:
        there = copy.deepcopy(model).to(device)(structure.to(device))
        torch.testing.assert_close(there.charges.cpu(), here.charges, rtol=0, atol=1e-8)
        assert there.iterations <= here.iterations + 1


def of_elements(periodic):
    """Water or cells of rock salt; of other elements for models without these."""
    some = [molecule(one) for one in ("CH3OH", "NaCl")] if not periodic else [bulk("CO", "zincblende", 3.6, cubic=True)]
    for atoms in some:
        atoms.rattle(0.05, seed=0)
    return [frames(periodic, 1)[0].structure, *map(Structure.from_ase, some)]


@pytest.mark.slow
@DEVICES
@pytest.mark.parametrize("periodic", [False, True], ids=["open", "periodic"])
@pytest.mark.parametrize("name", MODELS)
def test_named_models(name, periodic, kind):
    """Charges, energy, forces, responses, the density at points, and what is written."""
    structure = known(MODELS[name], of_elements(periodic))[0]

    def found(device):
        there = structure.to(device)
        model = made(MODELS[name], there).to(device)
        solution = model(there)
        responses = [solution.stress()] if periodic else [solution.polarizability(), solution.born_charges()]
        values = [solution.charges, solution.energy, solution.forces(), *responses]
        values += [solution.susceptibility(), solution.density.values(there.positions + 0.5)]
        if isinstance(solution.problem, Minimisation):
            values.append(solution.hardness_matrix())
        assert all(value.device == torch.device(device) for value in values)
        assert solution.to_atoms().get_charges() == pytest.approx(values[0].tolist())
        return [value.detach().cpu() for value in values]

    here = found("cpu")
    with device_of(kind) as device:
        for one, two in zip(here, found(device), strict=True):
            torch.testing.assert_close(two, one, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@DEVICES
def test_a_training_goes_on_elsewhere(tmp_path, kind):
    """A run on the device, stopped, goes on on the processor and back, with the numbers of the processor alone."""
    some = frames(periodic=False, n=3)

    def run(device, folder, epochs):
        environment = network(["H", "O"]).double()
        model = make("nonlinear", environment, {"H": 0.0, "O": 0.0}).to(device)
        settings = Settings(schedule={"direct": 1, "implicit": 2}, batch_size=2)
        trainer = Trainer(model, some[:2], some[2:], settings, tmp_path / folder)
        if epochs:
            trainer._finished = lambda: len(trainer.history) >= epochs
        return trainer.run()

    whole = run("cpu", "here", 0)
    with device_of(kind) as device:
        run(device, "both", 1)
    run("cpu", "both", 2)
    with device_of(kind) as device:
        last = run(device, "both", 0)
        assert next(last.model.parameters()).device == device
    assert len(last.history) == 3
    for one, two in zip(last.history, whole.history, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-9)
        assert one["validation_loss"] == pytest.approx(two["validation_loss"], rel=1e-9)
