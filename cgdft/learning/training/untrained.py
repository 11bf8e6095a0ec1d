"""What a training leaves as it is."""

from __future__ import annotations

import hashlib
from typing import Any

from torch import nn

from cgdft.parameter import AtomParameter


def numbers_of_elements(model: nn.Module) -> dict[str, dict[str, float]]:
    """What a model has per element and is no weight, such as E0, by the name of the parameter."""
    found = {name: one.elements for name, one in model.named_modules() if isinstance(one, AtomParameter) and one.elements}
    return {name: {symbol: float(value) for symbol, value in values.items()} for name, values in found.items()}


def untrained(model: nn.Module) -> dict[str, Any]:
    """What a training leaves as it is: numbers per element, and a hash of weights that require no gradient; and which do."""
    digest = hashlib.sha256()
    for name, one in sorted(model.named_parameters()):
        if not one.requires_grad:
            digest.update(f"{name} {one.dtype} {tuple(one.shape)}".encode() + one.detach().cpu().numpy().tobytes())
    trained = [f"{name} {one.dtype}" for name, one in sorted(model.named_parameters()) if one.requires_grad]
    return {"numbers per element": numbers_of_elements(model), "trained": trained, "not trained": digest.hexdigest()}
