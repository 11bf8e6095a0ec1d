"""The features of a trained MACE network as an environment, so that a foundation model carries functionals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols
from e3nn import o3
from jaxtyping import Float
from torch import Tensor, nn

from cgdft.learning.environment import Environment
from cgdft.learning.message_passing import neighbour_list
from cgdft.structure import Structure
from cgdft.units import angstrom


class MACEFeatures(Environment):
    """h_i = (h_i^1, ..., h_i^T), the node features after each of the T interactions of a MACE network, `node_feats` there.

    The last ones are scalars in most models, so what turns comes from those before.

    Args:
        model: an energy model of mace-torch, or the path of a saved one. A saved one is a pickle, which runs code: load none
            that you do not trust. A model object is used itself, not a copy.
        trainable: whether the weights that the features depend on are trained too; all are frozen by default.
        dtype: of weights and features, to which the model is converted; default: its own. What comes out is float64.

    Raises:
        ImportError: mace-torch is not installed.
        ValueError: another kind of model, one that needs more than the structure, or one converted to cuEquivariance.

    Source: I. Batatia, D. P. Kovacs, G. N. C. Simm, C. Ortner, G. Csanyi, Advances in Neural Information Processing Systems
    35, 11423 (2022).
    """

    def __init__(self, model: str | Path | nn.Module, trainable: bool = False, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        try:
            from mace.modules import MACE, ScaleShiftMACE
        except ImportError as error:
            raise ImportError(
                "`MACEFeatures` needs mace-torch: pip install cgdft[mace], in an environment of its own since mace-torch "
                "holds e3nn at 0.4.4"
            ) from error
        network: Any = model if isinstance(model, nn.Module) else torch.load(model, map_location="cpu", weights_only=False)
        if type(network) not in (MACE, ScaleShiftMACE):
            raise ValueError(f"`model` must be a MACE or ScaleShiftMACE of mace-torch, got {type(network).__name__}")
        if hasattr(network, "joint_embedding"):
            raise ValueError(
                f"`model` must need nothing but the structure, got one that embeds {', '.join(network.embedding_specs)}"
            )
        if getattr(network.products[0], "cueq_config", None) is not None:
            raise ValueError("`model` must be in e3nn's form, got one in cuEquivariance's; mace_cueq_to_e3nn converts it")
        network.requires_grad_(requires_grad=False)
        self.model = network if dtype is None else network.to(dtype)
        for part in (network.node_embedding, network.radial_embedding, network.interactions, network.products):
            part.requires_grad_(trainable)
        numbers = [int(z) for z in network.atomic_numbers]
        self.elements = tuple(chemical_symbols[z] for z in numbers)
        self.cutoff = float(network.r_max) * angstrom
        self.irreps = o3.Irreps([one for product in network.products for one in o3.Irreps(str(product.linear.irreps_out))])
        place = torch.full((len(chemical_symbols),), -1, dtype=torch.int64)
        place[numbers] = torch.arange(len(numbers))
        self.register_buffer("place", place.to(network.r_max.device), persistent=False)

    def features(self, structure: Structure) -> Float[Tensor, "n_atoms features"]:
        """The features of all interactions, (n_atoms, irreps.dim), float64."""
        weights = list(self.parameters())
        sources = [structure.positions, structure.cell, *weights]
        with torch.set_grad_enabled(torch.is_grad_enabled() and any(x.requires_grad for x in sources)):
            found: Tensor = self.model(self._graph(structure, weights[0].dtype), compute_force=False)["node_feats"]
        return found.double()

    def _graph(self, structure: Structure, dtype: torch.dtype) -> dict[str, Tensor]:
        """What MACE calls a batch, in angstrom: atom i sends to the image of j at R_j + shift . cell."""
        i, j, shift = neighbour_list(self.cutoff, structure)
        moved = (shift[:, None] @ structure.cell[structure.index[i]])[:, 0]
        element = self.place[structure.numbers]  # type: ignore[index]
        centres = structure.total(structure.positions.detach()) / structure.counts[:, None]  # digits of float32 are few
        return {
            "positions": ((structure.positions - centres[structure.index]) / angstrom).to(dtype),
            "cell": (structure.cell / angstrom).to(dtype).flatten(0, 1),
            "edge_index": torch.stack([i, j]),
            "shifts": (moved / angstrom).to(dtype),
            "unit_shifts": shift.to(dtype),
            "node_attrs": nn.functional.one_hot(element, len(self.elements)).to(dtype),
            "batch": structure.index,
            "ptr": torch.cat([structure.first, structure.first.new_tensor([structure.n_atoms])]),
            "head": torch.zeros_like(structure.first),
        }
