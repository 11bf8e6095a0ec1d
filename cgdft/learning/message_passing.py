"""A compact E(3)-equivariant message-passing network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from ase.data import atomic_numbers, chemical_symbols
from e3nn import nn as enn
from e3nn import o3
from jaxtyping import Float, Int
from torch import Tensor, nn

from cgdft.electrostatics.pairs import each_once, pairs_within, separations
from cgdft.learning.channel_product import ChannelProduct, components_first, components_last
from cgdft.learning.environment import Environment
from cgdft.memo import once
from cgdft.structure import Structure
from cgdft.units import angstrom

#: Bessel functions of the distance.
BESSEL = 8
#: Width of the perceptrons on them.
HIDDEN = 64


class MessagePassing(Environment):
    """h_i <- A h_i + gate(sum_j R(r_ij) (h_j x Y(r_ij)) / sqrt(n)), h_i = embedding of the element at first.

    R: a perceptron of Bessel functions that vanish smoothly at the cutoff; Y: spherical harmonics; x: tensor product of each
    channel, weighted by R; A: a linear map of each element's own. The features are those of all layers together.

    Args:
        elements: chemical symbols.
        channels: of every l.
        lmax: of features.
        layers: messages.
        cutoff: bohr.
        neighbours: n, so that messages are of order one; the average of the training set.
        dtype: of weights and features; what comes out is float64.

    Source: S. Batzner, A. Musaelian, L. Sun, M. Geiger, J. P. Mailoa, M. Kornbluth, N. Molinari, T. E. Smidt, B. Kozinsky,
    Nat. Commun. 13, 2453 (2022).
    """

    def __init__(
        self,
        elements: Sequence[str],
        channels: int = 32,
        lmax: int = 1,
        layers: int = 2,
        cutoff: float = 5.0 * angstrom,
        neighbours: float = 10.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        unknown = [element for element in elements if element not in atomic_numbers]
        if unknown or not elements:
            raise ValueError(f"`elements` must be chemical symbols, got {list(elements)}")
        sizes = (channels, layers, cutoff, neighbours, lmax)
        if not all(isinstance(one, int | float) for one in sizes) or min(sizes[:-1]) <= 0 or lmax < 0:
            raise ValueError(
                f"`channels`, `layers`, `cutoff` and `neighbours` must be positive and `lmax` not negative, got "
                f"{', '.join(map(repr, sizes))}"
            )
        self.elements, self.cutoff = tuple(elements), cutoff
        numbers = torch.full((len(chemical_symbols),), -1, dtype=torch.int64)
        numbers[[atomic_numbers[element] for element in elements]] = torch.arange(len(elements))
        self.register_buffer("place", numbers, persistent=False)
        self.embedding = nn.Embedding(len(elements), channels)
        hidden = o3.Irreps([(channels, (l, (-1) ** l)) for l in range(lmax + 1)])  # noqa: E741
        now = o3.Irreps([(channels, (0, 1))])
        blocks = []
        for _ in range(layers):
            blocks.append(_Layer(now, hidden, lmax, len(elements), neighbours))
            now = hidden
        self.blocks = nn.ModuleList(blocks)
        self.irreps = o3.Irreps([*hidden] * layers)
        self.lmax = lmax
        self.to(dtype)

    def features(self, structure: Structure) -> Float[Tensor, "n_atoms features"]:
        """The features of all layers, (n_atoms, irreps.dim), float64."""
        i, j, shift = neighbours_once(self.cutoff, structure)
        apart = separations(structure, j, i, -shift)
        length = (apart * apart).sum(1).sqrt()
        radial = bessel(length / self.cutoff).to(self.precision)
        degrees = range(self.lmax + 1)
        harmonics = o3.spherical_harmonics([*degrees], apart.to(self.precision), normalize=True, normalization="component").T
        parity = harmonics.new_tensor([(-1) ** l for l in degrees for _ in range(2 * l + 1)])[:, None]  # noqa: E741
        harmonics = torch.stack([harmonics, parity * harmonics], 1)
        element = self.place[structure.numbers]  # type: ignore[index]
        h, found = self.embedding(element), []
        for block in self.blocks:
            h = block(h, element, torch.stack([i, j]), harmonics, radial)
            found.append(h)
        return torch.cat(found, 1).double()


class _Layer(nn.Module):
    def __init__(self, inward: o3.Irreps, outward: o3.Irreps, lmax: int, n_elements: int, neighbours: float) -> None:
        super().__init__()
        scalars = o3.Irreps([(mul, ir) for mul, ir in outward if ir.l == 0])
        gated = o3.Irreps([(mul, ir) for mul, ir in outward if ir.l > 0])
        gates = o3.Irreps([(mul, (0, 1)) for mul, _ in gated])
        self.gate = enn.Gate(scalars, [torch.nn.functional.silu], gates, [torch.sigmoid] * len(gates), gated)
        self.channels = inward[0].mul
        self.product = ChannelProduct(inward.lmax, lmax)
        sums = o3.Irreps([(self.channels, (degree, (-1) ** degree)) for _, _, degree in self.product.paths])
        self.up = o3.Linear(inward, inward)
        self.weights = _Radial(len(sums), self.channels)
        self.down = o3.Linear(sums, self.gate.irreps_in)
        self.own = o3.Linear(inward, outward, shared_weights=False, internal_weights=False)
        self.of_element = nn.Embedding(n_elements, self.own.weight_numel)
        self.scale = neighbours**-0.5

    def forward(
        self,
        h: Float[Tensor, "n_atoms inward"],
        element: Int[Tensor, " n_atoms"],
        pairs: Int[Tensor, "2 n_pairs"],
        harmonics: Float[Tensor, "components 2 n_pairs"],
        radial: Float[Tensor, "n_pairs bessel"],
    ) -> Float[Tensor, "n_atoms outward"]:
        """One round of messages, both ways between the atoms of each pair, from the second to the first at first."""
        x = components_first(self.up(h), self.channels)
        sent = self.product(at(x, pairs.flip(0)), harmonics, self.weights(radial))
        received = [summed(one, pairs, len(h)) for one in sent]
        message = self.gate(self.down(components_last(received) * self.scale))
        found: Tensor = message + self.own(h, self.of_element(element))
        return found


class _Radial(nn.Module):
    """R(r) = B_p silu(A b(r)) for each path p, of order one before training."""

    def __init__(self, n_paths: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(BESSEL, HIDDEN))
        self.last = nn.Parameter(torch.randn(n_paths, HIDDEN, channels))

    def forward(self, radial: Float[Tensor, "n_pairs bessel"]) -> list[Float[Tensor, "n_pairs channels"]]:
        """Of each path."""
        hidden = nn.functional.silu(radial @ (self.first * BESSEL**-0.5))
        scale = 1.6765 * len(self.last[0]) ** -0.5  # silu of a normal variable has a mean square of 1 / 1.6765^2
        return [hidden @ one for one in (scale * self.last).unbind()]


def at(x: Float[Tensor, "components n channels"], j: Int[Tensor, "*pairs"]) -> Float[Tensor, "components *pairs channels"]:
    """x_j of each component."""
    rows = j.flatten() + x.shape[1] * torch.arange(len(x), device=j.device)[:, None]
    return x.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, (len(x), *j.shape))


def summed(
    z: Float[Tensor, "components *pairs channels"], i: Int[Tensor, "*pairs"], n: int
) -> Float[Tensor, "components n channels"]:
    """Sum of z over pairs of each i."""
    rows = i.flatten() + n * torch.arange(len(z), device=i.device)[:, None]
    total = z.new_zeros(len(z) * n, z.shape[-1])
    return total.index_add(0, rows.flatten(), z.flatten(0, -2)).unflatten(0, (len(z), -1))


def bessel(x: Float[Tensor, " n_pairs"]) -> Float[Tensor, "n_pairs bessel"]:
    """sin(n pi x) / (pi x), n = 1 .. 8, times 1 - 28 x^6 + 48 x^7 - 21 x^8, for 0 < x < 1: two derivatives vanish at 1.

    Source: J. Gasteiger, J. Gross, S. Guennemann, International Conference on Learning Representations (2020), eqs. 7, 8.
    """
    n = torch.arange(1, BESSEL + 1, dtype=x.dtype, device=x.device)
    smooth = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
    return torch.sin(n * math.pi * x[:, None]) / (math.pi * x[:, None]) * smooth[:, None]


def neighbour_list(cutoff: float, structure: Structure) -> tuple[Tensor, Tensor, Tensor]:
    """(i, j, shift) closer than a cutoff, both orders; from memory where it is known."""
    found: tuple[Tensor, Tensor, Tensor] = once(
        ("pairs", cutoff), structure, lambda: pairs_within(structure, cutoff), graph=False
    )
    return found


def neighbours_once(cutoff: float, structure: Structure) -> tuple[Tensor, Tensor, Tensor]:
    """(i, j, shift) closer than a cutoff, each pair in one of its orders."""
    i, j, shift = neighbour_list(cutoff, structure)
    one = each_once(i, j, shift)
    return i[one], j[one], shift[one]
