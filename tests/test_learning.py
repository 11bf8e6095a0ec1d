"""Architectures and ways to train them: gradients of losses against differences, and what counts in a loss."""

import numpy as np
import pytest
import torch
from networks import ATOMS, environment, structure

from cgdft import Multipoles, SplitCharges, check_model
from cgdft.functionals import Electronegativity, Hardness, Hartree
from cgdft.learning import (
    Batch,
    Frame,
    MessagePassing,
    Scalar,
)
from cgdft.learning.architectures import make, names
from cgdft.learning.training.evaluation import evaluate
from cgdft.learning.training.loss import compared, parts, penalty, wanted
from cgdft.learning.training.schedules import direct, implicit, unrolled
from cgdft.model import Model
from cgdft.solvers import Direct
from cgdft.testing.structures import TURN

WEIGHTS = {"energy": 1.0, "forces": 1.0, "dipole": 1.0, "multipoles": 1.0}


def labelled(s, name, seed=0, **labels):
    """A frame with labels of the right shapes and sizes, at random."""
    rng = np.random.default_rng(seed)
    made = {
        "energy": torch.tensor(sum(ATOMS[symbol] for symbol in s.symbols) - 0.1 * s.n_atoms),
        "forces": torch.from_numpy(0.05 * rng.standard_normal((s.n_atoms, 3))),
        "dipole": torch.from_numpy(rng.standard_normal(3)),
        "multipoles": torch.from_numpy(0.1 * rng.standard_normal((s.n_atoms, 9))),
    }
    return Frame(name, s, {**made, **labels})


@pytest.fixture
def batch():
    cell = [[7.0, 0, 0], [0.8, 7.5, 0], [0.2, -0.3, 8.0]]
    frames = [labelled(structure("CH3OH"), "methanol"), labelled(structure("H2O", charge=1), "water cation", 1)]
    crystal = labelled(structure("H2O", cell=cell), "water in a cell", 2, stress=1e-4 * torch.ones(3, 3, dtype=torch.float64))
    del crystal.labels["dipole"]
    return Batch.of([*frames, crystal], [environment().cutoff])


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("where", ["open", pytest.param("cation", marks=pytest.mark.slow), "cell"])
def test_architectures_pass_the_check_of_models(name, where):
    cell = [[9.0, 0, 0], [0.8, 9.5, 0], [0.2, -0.3, 10.0]] if where == "cell" else None
    s = structure("CH3OH", charge=int(where == "cation"), cell=cell)
    model = make(name, environment(), ATOMS).requires_grad_(requires_grad=False)
    check_model(model, s, tolerance=1e-5)


def slope(model, loss, names):
    """d loss / d weights along one random direction, by autograd and by differences."""
    weights = [p for n, p in model.named_parameters() if p.requires_grad]
    generator = torch.Generator().manual_seed(3)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in weights]
    value = loss()
    exact = torch.autograd.grad(value, weights, allow_unused=True, materialize_grads=True)
    along = sum(float((g * d).sum()) for g, d in zip(exact, direction, strict=True))
    sides = []
    step = 1e-4
    for k in (1, -1, 2, -2):
        with torch.no_grad():
            for p, d in zip(weights, direction, strict=True):
                p.add_(d, alpha=k * step)
        sides.append(float(loss().detach()))
        with torch.no_grad():
            for p, d in zip(weights, direction, strict=True):
                p.sub_(d, alpha=k * step)
    return along, (8 * (sides[0] - sides[1]) - (sides[2] - sides[3])) / (12 * step)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in ("local-charges", "response") else []) for name in names()]
)
def test_gradients_of_the_loss_through_the_minimum(name, batch):
    """Energies, forces, stress, dipoles and multipoles together, open, charged and periodic, in one batch."""
    model = make(name, environment(), ATOMS)
    weights = {**WEIGHTS, "stress": 1.0}

    def loss():
        return sum(parts(implicit(model, batch, wanted(batch, weights)), weights).values())

    along, differences = slope(model, loss, WEIGHTS)
    assert along == pytest.approx(differences, rel=1e-5)


@pytest.mark.parametrize("name", ["qeq", "nonlinear", "response", "shared-response"])
def test_gradients_of_the_loss_at_the_density_of_the_reference(name, batch):
    """Modes answer to that density, and what they answer depends on the weights."""
    model = make(name, environment(), ATOMS)
    weights = {**WEIGHTS, "stress": 1.0, "stationarity": 1.0}

    def loss():
        return sum(parts(direct(model, batch, wanted(batch, weights)), weights).values())

    along, differences = slope(model, loss, WEIGHTS)
    assert along == pytest.approx(differences, rel=1e-5)


@pytest.mark.parametrize("quantity", ["polarizability", "born_charges", "susceptibility", "chemical_potential", "potential"])
def test_gradients_of_responses(quantity):
    """Derivatives of the density are trained through as well."""
    s = structure("H2O")
    n = s.n_atoms
    shapes = {"polarizability": (3, 3), "born_charges": (n, 3, 3), "susceptibility": (4 * n, 4 * n), "potential": (5,)}
    label = torch.ones(shapes.get(quantity, ()), dtype=torch.float64)
    extra = {"points": s.positions.mean(0) + 6 * torch.eye(5, 3, dtype=torch.float64)} if quantity == "potential" else {}
    one = Batch.of([Frame("water", s, {quantity: label, **extra})])
    model = make("nonlinear", environment(), ATOMS)

    def loss():
        return sum(parts(implicit(model, one, wanted(one, {quantity: 1.0})), {quantity: 1.0}).values())

    along, differences = slope(model, loss, [quantity])
    assert along == pytest.approx(differences, rel=1e-5)


@pytest.mark.parametrize("name", ["qeq", *(pytest.param(one, marks=pytest.mark.slow) for one in ("nonlinear", "response"))])
def test_unrolled_steps_reach_the_minimum(name, batch):
    model = make(name, environment(), ATOMS)
    frames = Batch.of(batch.frames[:2])

    def values(way):
        prediction = way(model, frames, wanted(frames, WEIGHTS), None)
        loss = sum(parts(prediction, WEIGHTS).values())
        weights = list(model.parameters())
        return prediction.energy, torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)

    exact, one = values(implicit)
    found, two = values(unrolled(300))
    assert torch.allclose(exact, found, atol=1e-8)
    scale = max(float(g.abs().max()) for g in one)
    assert all(torch.allclose(a, b, atol=1e-4 * scale) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("name", ["qeq", "nonlinear", "response", "split charges"])
def test_direct_training_knows_a_solution(name, batch):
    """At the density of the model itself nothing is left, and the energy is that of the minimum; elsewhere something is."""
    if name == "split charges":
        model = make("qeq", environment(), ATOMS).replace(ansatz=SplitCharges(hardness=0.1))
    else:
        model = make(name, environment(), ATOMS)
    own = implicit(model, batch, ["energy", "forces"])
    frames = [
        Frame(f.name, f.structure, {**f.labels, "multipoles": own.response.density.coefficients.detach()[batch.atoms_of([s])]})
        for s, f in enumerate(batch.frames)
    ]
    there = direct(model, Batch.of(frames), ["energy", "forces"], None)
    assert float(there.extra["stationarity"].detach().abs().max()) < 1e-8
    assert torch.allclose(there.energy, own.energy, atol=1e-9)
    assert torch.allclose(there.get("forces", [0, 1, 2]), own.get("forces", [0, 1, 2]), atol=1e-8)
    elsewhere = direct(model, batch, ["energy"], None)
    assert float(elsewhere.extra["stationarity"].detach().abs().max()) > 1e-3
    with pytest.raises(ValueError, match="`schedule` direct needs multipoles of every frame, got none for nameless"):
        direct(model, Batch.of([Frame("nameless", batch.frames[0].structure, {})]), [], None)


def test_features_are_computed_once_a_step(batch):
    """With a graph, for all heads, the solver and the derivatives together; neighbour lists are those of the batch."""

    class Counted(MessagePassing):
        asked = 0

        def features(self, s):
            Counted.asked += 1
            return super().features(s)

    torch.manual_seed(0)
    model = make("nonlinear", Counted(list(ATOMS), channels=4, dtype=torch.float64), ATOMS)
    implicit(model, batch, ["energy", "forces", "multipoles"])
    assert Counted.asked == 1


def test_validation_measures_what_training_minimises(batch):
    """Multipoles by l, each in its own scale, energies by atom."""
    model = make("nonlinear", environment(), ATOMS)
    expected = {name: float(part.detach()) for name, part in parts(implicit(model, batch, WEIGHTS), WEIGHTS).items()}
    found = evaluate(model, [batch], list(WEIGHTS))
    assert found.loss(WEIGHTS) == pytest.approx(sum(expected.values()), rel=1e-9)
    assert found.loss({"multipoles": 2.0}) == pytest.approx(2 * (expected["charges"] + expected["dipoles"]), rel=1e-9)
    p = implicit(model, batch, []).response.density.coefficients
    label = torch.cat([frame.labels["multipoles"][:, :4] for frame in batch.frames])
    wrong = (p - label).detach().square()
    assert expected["charges"] == pytest.approx(float(wrong[:, 0].mean() / 5e-3**2), rel=1e-9)
    assert expected["dipoles"] == pytest.approx(float(wrong[:, 1:].mean() / (4 * 5e-3) ** 2), rel=1e-9)


@pytest.mark.parametrize("huber", [0.3, 5.0])
def test_large_errors_count_linearly(batch, huber):
    """x^2 of small errors, 2 h |x| of large ones; of a vector, whatever its direction; in validation too."""
    x = torch.tensor([[0.6, -0.8, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64) * 3**0.5  # mean squares of 1
    assert torch.allclose(penalty(1e-3 * x, huber), penalty(1e-3 * x), rtol=1e-5)
    assert torch.allclose(penalty(1e5 * x, huber) / 1e5, torch.tensor(2 * huber).double(), rtol=1e-4)
    assert torch.allclose(penalty(x @ TURN, huber), penalty(x, huber))
    assert torch.autograd.gradcheck(lambda y: penalty(y, huber), x.clone().requires_grad_())
    model = make("nonlinear", environment(), ATOMS)
    found = parts(implicit(model, batch, WEIGHTS), WEIGHTS, huber)
    squared = evaluate(model, [batch], list(WEIGHTS)).loss(WEIGHTS)
    assert evaluate(model, [batch], list(WEIGHTS), huber=huber).loss(WEIGHTS) == pytest.approx(
        sum(float(one.detach()) for one in found.values()), rel=1e-9
    )
    assert sum(float(one.detach()) for one in found.values()) < 0.9 * squared


def test_a_frame_without_dipoles_leaves_those_of_others(batch):
    model, weights = make("nonlinear", environment(), ATOMS), {"multipoles": 1.0}
    one, other = (
        Frame(f"{k}", structure("H2O"), {"multipoles": batch.frames[1].labels["multipoles"][:, :n]})
        for k, n in enumerate((4, 1))
    )

    def found(*frames):
        together = Batch.of([*frames])
        losses = parts(implicit(model, together, wanted(together, weights)), weights)
        return {name: float(one.detach()) for name, one in losses.items()}, evaluate(model, [together], ["multipoles"])

    alone, errors = found(one)
    both, errors_of_both = found(one, other)
    assert both["dipoles"] == pytest.approx(alone["dipoles"], rel=1e-9)
    assert errors_of_both.errors["dipoles"].n == errors.errors["dipoles"].n == 9
    assert errors_of_both.errors["charges"].n == 6
    assert errors_of_both.loss(weights) == pytest.approx(sum(both.values()), rel=1e-9)


def test_a_chemical_potential_is_asked_of_those_that_have_one(batch):
    """Of the others it is an error, and a warning where all labels are evaluated."""
    one = Frame("one", batch.frames[0].structure, {"chemical_potential": torch.tensor(-0.1, dtype=torch.float64)})
    for name in ("qeq", "local", "local-charges", "shared-response"):
        model, of_one = make(name, environment(), ATOMS), Batch.of([one])
        if name == "qeq":
            assert "chemical_potential" in evaluate(model, [of_one]).errors
            continue
        with pytest.warns(UserWarning, match="chemical_potential needs a total charge that the model minimises with"):
            assert not evaluate(model, [of_one]).errors
        with pytest.raises(ValueError, match="leave it out"):
            evaluate(model, [of_one], ["chemical_potential"])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ("local", "shared-response") else pytest.mark.slow) for name in names()]
)
def test_predictions_without_a_graph(name, batch):
    """Forces are what they are, whether weights are trained or not."""
    model = make(name, environment(), ATOMS)
    forces = implicit(model, batch, ["forces"]).get("forces", [0, 1, 2])
    with torch.no_grad():
        found = implicit(model, batch, ["forces"]).get("forces", [0, 1, 2])
    assert not found.requires_grad
    assert torch.allclose(found, forces, atol=1e-10)


def test_a_frame_without_a_minimum_is_left_out_and_named():
    """A hardness that is too small on one of two molecules: the other one is trained on."""
    heads = environment()

    def soft(s):
        return torch.where(s.numbers == 6, -0.9, 0.5) + 0 * Scalar(heads)(s)

    class Soft(Hardness):
        def __init__(self):
            super().__init__(1.0)
            self.convex = False

        def energy(self, rho):
            return rho.total(0.5 * soft(rho.structure) * rho.charges**2)

    model = Model(Hartree() + Electronegativity(Scalar(heads)) + Soft(), Multipoles(width=1.0), solver=Direct())
    frames = [labelled(structure("CH3OH"), "methanol"), labelled(structure("H2O"), "water")]
    prediction = implicit(model, Batch.of(frames), ["energy"])
    assert list(prediction.failed) == ["methanol"]
    assert "no minimum" in prediction.failed["methanol"]
    assert [frame.name for frame in prediction.batch.frames] == ["water"]
    assert compared(prediction, "energy")[0].shape == (1,)
