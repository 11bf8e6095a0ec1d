"""What a check must leave out, and what the cause may be where it fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from cgdft.constraint import Constraint
from cgdft.derivatives.settings import named_by
from cgdft.finite import finite
from cgdft.parameter import Parameter
from cgdft.space import Entries

#: Relative errors of differences up to this may be those of weights in single precision.
SINGLE = 1e-2


def cause(what: str, got: Tensor, error: float, module: nn.Module, remedies: Mapping[str, str]) -> str:
    """What to do about the check `what` of a term or model, to follow a message; `remedies` by how names of checks begin."""
    if not finite(got):
        return "; there is a root or norm at zero, or an angle of a line: make it smooth there"
    single = next((name for name, one in _weights(module) if one.dtype == torch.float32), None)
    if single is not None and error <= SINGLE:
        return f"; `{single}` is float32, whose rounding alone may do this: check it in double precision, by .double()"
    return next((f"; {text}" for name, text in remedies.items() if what.startswith(name)), "")


def _weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Those of a module, and of modules that functions in it name."""
    yield from module.named_parameters()
    yield from module.named_buffers()
    for part in module.modules():
        for value in vars(part).values():
            if callable(value) and not isinstance(value, nn.Module):
                for name, one in named_by(value):
                    for within, weight in one.named_parameters() if isinstance(one, nn.Module) else ():
                        yield f"{name}.{within}", weight


def told(got: Tensor, expected: Tensor) -> str:
    """Both, as numbers where they differ most."""
    got, expected = (one.detach().flatten() for one in torch.broadcast_tensors(got, expected))
    most = (got - expected).abs().topk(min(4, len(got))).indices
    more = ", ...]" if len(got) > 4 else "]"
    one, two = ("[" + ", ".join(f"{v:.8g}" for v in some[most].tolist()) + more for some in (expected, got))
    return f"expected {one}, got {two}"


def per_atom(module: nn.Module) -> bool:
    """Whether a parameter of a term or model is given atom by atom, or pair by pair."""
    return any(isinstance(one, Parameter) and one.value is not None and one.value.ndim == 1 for one in module.modules())


def by_number(part: nn.Module | Constraint) -> bool:
    """Whether an ansatz or constraint is given some values of atoms or of structures, or the numbers of some atoms."""
    return any(
        isinstance(one, Entries)
        or (isinstance(one, Tensor) and one.ndim > 0 and one.numel() > 0)
        or (isinstance(one, Sequence) and not isinstance(one, str) and len(one) > 0)
        for one in vars(part).values()
    )
