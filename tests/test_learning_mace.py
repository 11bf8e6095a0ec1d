"""Features of a MACE network: those of mace-torch, and functionals on them that pass the checks."""

import copy
import re
import sys
import warnings
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase.build import molecule

pytest.importorskip("mace")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # how torch loads e3nn 0.4.4
    from mace import data, modules, tools
    from mace.tools import torch_geometric

from e3nn import o3

from cgdft import Model, Multipoles, Structure, check_model
from cgdft.ase import CGDFT
from cgdft.functionals import Electronegativity, Hardness, Hartree
from cgdft.learning import Coefficients, Frame, Scalar
from cgdft.learning.architectures import make
from cgdft.learning.mace import MACEFeatures
from cgdft.learning.training.config import Settings
from cgdft.learning.training.read_config import read_config
from cgdft.learning.training.run import train
from cgdft.learning.training.saving import load, save
from cgdft.learning.training.trainer import Trainer
from cgdft.units import angstrom

pytestmark = [pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"), pytest.mark.filterwarnings("ignore::UserWarning")]

NUMBERS = [1, 6, 7, 8, 11, 17]
CELL = [[3.6, 0, 0], [0.3, 3.9, 0], [0.2, -0.3, 4.2]]


def network(dtype=torch.float64, **changes):
    """A new one, with features of order one."""
    torch.manual_seed(1)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        made = modules.ScaleShiftMACE(
            **{
                "r_max": 3.5,
                "num_bessel": 4,
                "num_polynomial_cutoff": 5,
                "max_ell": 2,
                "interaction_cls": modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
                "interaction_cls_first": modules.interaction_classes["RealAgnosticInteractionBlock"],
                "num_interactions": 2,
                "num_elements": len(NUMBERS),
                "hidden_irreps": o3.Irreps("8x0e + 8x1o"),
                "MLP_irreps": o3.Irreps("4x0e"),
                "gate": torch.nn.functional.silu,
                "atomic_energies": np.zeros(len(NUMBERS)),
                "avg_num_neighbors": 5.0,
                "atomic_numbers": NUMBERS,
                "correlation": 2,
                "atomic_inter_scale": 1.0,
                "atomic_inter_shift": 0.0,
                **changes,
            }
        )
    finally:
        torch.set_default_dtype(before)
    with torch.no_grad():
        for product in made.products:
            product.linear.weight.mul_(20)
    return made


@pytest.fixture(scope="module")
def environment():
    return MACEFeatures(network())


def displaced(name, cell=None):
    atoms = molecule(name)
    atoms.rattle(0.1, seed=1)
    if cell is not None:
        atoms.set_cell(cell)
        atoms.pbc = True
    return Structure.from_ase(atoms)


def theirs(model, structure):
    """node_feats of mace-torch's own graph of the same structure."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        table = tools.AtomicNumberTable(NUMBERS)
        configurations = [data.config_from_atoms(one.to_ase()) for one in structure]
        graphs = [data.AtomicData.from_config(one, z_table=table, cutoff=float(model.r_max)) for one in configurations]
        batch = next(iter(torch_geometric.dataloader.DataLoader(graphs, batch_size=len(graphs))))
        return model(batch.to_dict(), compute_force=False)["node_feats"].detach()
    finally:
        torch.set_default_dtype(before)


def test_features_are_those_of_mace(structure, environment):
    found = environment(structure)
    expected = theirs(environment.model, structure)
    assert found.shape == (structure.n_atoms, environment.irreps.dim)
    assert float(expected.abs().max()) > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_an_atom_alone_and_what_is_known_of_the_model(environment):
    assert environment.elements == ("H", "C", "N", "O", "Na", "Cl")
    assert environment.cutoff == pytest.approx(3.5 * angstrom)
    assert environment.irreps == o3.Irreps("8x0e + 8x1o + 8x0e")
    alone = Structure.from_ase(molecule("O"))
    torch.testing.assert_close(environment(alone), theirs(environment.model, alone), rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="got S"):
        environment(Structure.from_ase(molecule("SH2")))


def test_features_have_two_derivatives(environment):
    s = displaced("H2O", CELL)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(environment.irreps.dim, generator=generator, dtype=torch.float64)

    def energy(u, strain):
        return (environment(s.deformed(u, strain)) @ weights).square().sum()

    u, strain = torch.zeros(3, 3, dtype=torch.float64), torch.zeros(1, 3, 3, dtype=torch.float64)
    inputs = (u.requires_grad_(), strain.requires_grad_())
    assert torch.autograd.gradcheck(energy, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(energy, inputs, fast_mode=True, atol=1e-4)


@pytest.mark.parametrize("cell", [None, CELL], ids=["open", "periodic"])
@pytest.mark.parametrize("name", ["qeq", "nonlinear"])
def test_functionals_on_them_pass_the_check_of_models(name, cell, environment):
    """Translation, rotation, permutation, batches, forces, stress and responses against differences."""
    torch.manual_seed(2)
    model = make(name, environment, {"H": -0.5, "C": -37.8, "O": -75.0}).requires_grad_(requires_grad=False)
    check_model(model, displaced("CH3OH", cell), tolerance=1e-5)


def test_heads_for_charges_and_hardnesses(environment):
    torch.manual_seed(3)
    terms = (
        Hartree() + Electronegativity(Scalar(environment, scale=1.0)) + Hardness(Scalar(environment, 0.4, 0.3, positive=True))
    )
    found = Model(terms, Multipoles(0, width=1.0))(displaced("CH3OH"))
    assert float(found.charges.detach().abs().max()) > 0.01
    p = Coefficients(environment, lmax=1)(displaced("H2O"))
    assert p.shape == (3, 4)
    assert p.dtype == torch.float64


def test_frozen_unless_asked():
    s = displaced("H2O")
    frozen = MACEFeatures(network())
    assert not any(p.requires_grad for p in frozen.parameters())
    assert not frozen(s).requires_grad
    trained = MACEFeatures(network(), trainable=True)
    weights = {name: p for name, p in trained.named_parameters() if p.requires_grad}
    assert not any("readouts" in name for name in weights)
    slopes = torch.autograd.grad(trained(s).square().sum(), list(weights.values()))
    assert sum(float(g.abs().sum()) for g in slopes) > 0


def test_a_saved_model_in_either_precision(tmp_path):
    s = displaced("CH3OH")
    torch.save(network(torch.float32), tmp_path / "saved.model")
    single = MACEFeatures(tmp_path / "saved.model")
    double = MACEFeatures(str(tmp_path / "saved.model"), dtype=torch.float64)
    assert single(s).dtype == double(s).dtype == torch.float64
    assert {p.dtype for p in single.parameters()} == {torch.float32}
    assert {p.dtype for p in double.parameters()} == {torch.float64}
    torch.testing.assert_close(single(s), double(s), rtol=0, atol=1e-5)


def test_the_manual(tmp_path, monkeypatch):
    torch.save(network(), tmp_path / "saved.model")
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parent.parent / "docs" / "training.md").read_text()
    (block,) = re.findall(r"^```py\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    names = {}
    exec(compile(block, "training.md", "exec"), names)
    assert torch.isfinite(names["model"](displaced("H2O")).forces()).all()


def test_functionals_on_them_are_saved(tmp_path):
    s, atoms = displaced("CH3OH"), {"H": -0.5, "C": -37.8, "O": -75.0}
    torch.manual_seed(4)
    model = make("response", MACEFeatures(network()), atoms)
    save(model, tmp_path / "one.safetensors", architecture="response", atoms=atoms)
    again = load(tmp_path / "one.safetensors", environment=MACEFeatures(network()))
    torch.testing.assert_close(again(s).energy, model(s).energy.detach(), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="must be like that of .* got none"):
        load(tmp_path / "one.safetensors")


@pytest.mark.parametrize("trainable", [False, True])
def test_functionals_on_them_are_trained(trainable):
    frames = []
    for seed in range(3):
        atoms = molecule("H2O")
        atoms.rattle(0.05, seed=seed)
        s = Structure.from_ase(atoms)
        labels = {"energy": torch.tensor(0.01 * seed, dtype=torch.float64), "forces": torch.zeros_like(s.positions)}
        frames.append(Frame(f"water {seed}", s, labels))
    environment = MACEFeatures(network(num_interactions=1, correlation=1), trainable=trainable)
    before = copy.deepcopy(environment.state_dict())
    model = make("qeq", environment, {"H": 0.0, "O": 0.0})
    settings = Settings(schedule={"implicit": 3}, batch_size=2, learning_rate=0.01)
    history = Trainer(model, frames[:2], frames[2:], settings).run().history
    assert history[-1]["loss"] < history[0]["loss"]
    moved = [name for name, x in environment.state_dict().items() if not torch.equal(x, before[name])]
    assert bool(moved) == trainable


def test_what_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="got Linear"):
        MACEFeatures(torch.nn.Linear(1, 1))
    spin = {"type": "categorical", "per": "graph", "num_classes": 5, "emb_dim": 4, "offset": 0}
    with pytest.raises(ValueError, match="embeds total_spin"):
        MACEFeatures(network(embedding_specs={"total_spin": spin}))
    other = network()
    other.products[0].cueq_config = object()
    with pytest.raises(ValueError, match="cuEquivariance"):
        MACEFeatures(other)
    monkeypatch.setitem(sys.modules, "mace.modules", None)
    with pytest.raises(ImportError, match=r"cgdft\[mace\]"):
        MACEFeatures("saved.model")


def test_molecular_dynamics(environment):
    """Networks with TorchScript in them are watched as others are; forces are slopes."""
    model = make("local", environment, dict.fromkeys(environment.elements, 0.0)).requires_grad_(requires_grad=False)
    atoms = molecule("H2O")
    atoms.calc = CGDFT(model)
    energies = []
    for sign in (1, -1):
        atoms.positions[0, 2] += sign * 1e-3
        energies.append(atoms.get_potential_energy())
        atoms.positions[0, 2] -= sign * 1e-3
    assert atoms.get_forces()[0, 2] == pytest.approx((energies[1] - energies[0]) / 2e-3, abs=1e-4)


def test_an_environment_with_other_numbers_is_refused(tmp_path):
    """Though weights fit: what divides sums over neighbours is none."""
    given = dict.fromkeys(("H", "C", "N", "O", "Na", "Cl"), 0.0)
    save(make("qeq", MACEFeatures(network()), given), tmp_path / "a.safetensors", architecture="qeq", atoms=given)
    assert load(tmp_path / "a.safetensors", environment=MACEFeatures(network()))
    with pytest.raises(ValueError, match="features differ by .* numbers that are no weights"):
        load(tmp_path / "a.safetensors", environment=MACEFeatures(network(avg_num_neighbors=9.0)))


def test_far_from_the_origin_in_single_precision():
    water = displaced("H2O")
    far = water.deformed(torch.full_like(water.positions, 2000.0), torch.zeros_like(water.cell))
    features = MACEFeatures(network(torch.float32))
    torch.testing.assert_close(features(far), features(water), rtol=0, atol=1e-5)


def test_trained_by_a_file(tmp_path, monkeypatch):
    """What YAML states of it, and what it must leave out; the result is read with a network like it."""
    monkeypatch.chdir(tmp_path)
    torch.save(network(torch.float32), "saved.model")
    frames = []
    for k in range(6):
        atoms = molecule("H2O", info={"charge": 0})
        atoms.rattle(0.05, seed=k)
        atoms.info["energy"] = -2000.0 + 3.0 * (atoms.get_distance(0, 1) - 0.97) ** 2
        frames.append(atoms)
    ase.io.write("set.xyz", frames)
    stated = "data: {train: [set.xyz], validation: 0.34}\narchitecture: qeq\nenvironment: {mace: saved.model}\n"
    Path("set.yaml").write_text(stated + "schedule: {implicit: 1}\natoms: {H: -0.5, O: -72.5}\nweights: {energy: 1.0}\n")
    trained = train("set.yaml")
    again = load("run/model.safetensors", environment=MACEFeatures("saved.model"))
    water = Structure.from_ase(frames[0])
    torch.testing.assert_close(again(water).energy, trained.model(water).energy.detach(), rtol=0, atol=1e-6)
    Path("set.yaml").write_text(stated.replace("saved.model}", "saved.model, channels: 3}"))
    with pytest.raises(
        ValueError, match="set.yaml:3: environment: must leave out what the network of `mace` has, got channels"
    ):
        read_config("set.yaml")
