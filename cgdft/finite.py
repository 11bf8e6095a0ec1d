"""Whether numbers are numbers, and tensors what they must be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def finite(values: Tensor) -> bool:
    """Whether none is NaN or infinite: seen of their sum, in one pass, unless that overflows."""
    return math.isfinite(values.sum().item()) or bool(torch.isfinite(values).all())


def require_tensor(what: str, value: Any, shape: tuple[int, ...], like: Tensor, dtype: torch.dtype | None = None) -> None:
    """Raise a ValueError where a value is no tensor of this shape, on the device and of the dtype of another, or of `dtype`."""
    dtype = dtype or like.dtype
    if not isinstance(value, Tensor) or tuple(value.shape) != shape or value.dtype != dtype or value.device != like.device:
        got = f"{tuple(value.shape)}, {value.dtype}, {value.device}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{what} must be a tensor {shape}, {dtype}, {like.device}, got {got}")


def whole_numbers(what: str, values: Any, count: int, limit: int | None = None) -> Tensor:
    """So many whole numbers from 0 to less than a limit, as int64; else a ValueError."""
    found = torch.as_tensor(values)
    given = found.tolist() if found.numel() <= 10 else f"shape {tuple(found.shape)}"
    if found.shape != (count,) or found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise ValueError(f"{what} must be {count} whole numbers, got {given}, {found.dtype}")
    if count and (int(found.min()) < 0 or (limit is not None and int(found.max()) >= limit)):
        raise ValueError(f"{what} must be {'at least 0' if limit is None else f'from 0 to {limit - 1}'}, got {given}")
    return found.to(torch.int64)


def numbers_of(name: str, value: Any, dtype: torch.dtype | None, device: torch.device | None = None) -> Tensor:
    """An argument as a tensor, a copy of what is none yet; of `dtype`, by default of its own.

    Raises:
        ValueError: what is no number, complex, not whole where it must be, or neither true nor false, with the argument's name.
    """
    exact = dtype in (torch.int64, torch.bool)
    given = value.copy() if isinstance(value, np.ndarray) else joined(value, name)
    try:
        if isinstance(given, np.ndarray | np.generic) and np.iscomplexobj(given):
            raise TypeError
        tensor = torch.as_tensor(given, dtype=None if exact else dtype, device=device)
        if isinstance(given, Tensor) and given.is_complex():
            raise TypeError
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"`{name}` must be of real numbers, got {value!r:.60}") from error
    if not exact or tensor.dtype == dtype:
        return tensor
    found = tensor.to(dtype)
    if (found.to(tensor) != tensor).any():
        wanted = "whole" if dtype == torch.int64 else "True or False"
        raise ValueError(f"`{name}` must be {wanted}, got {tensor[found.to(tensor) != tensor].tolist()[:3]}")
    return found


def joined(value: Any, name: str) -> Any:
    """Of a sequence that holds tensors one tensor, with their graphs; everything else as it is.

    Raises:
        ValueError: tensors of unlike shapes, complex ones, or something else beside them.
    """
    if not isinstance(value, list | tuple) or not any(isinstance(one, Tensor | list | tuple) for one in value):
        return value
    parts = [joined(one, name) for one in value]
    if not any(isinstance(one, Tensor) for one in parts):
        return value
    try:
        tensors = [torch.as_tensor(one) for one in parts]
        if any(one.is_complex() for one in tensors):
            raise TypeError
        whole = not any(one.is_floating_point() for one in tensors)
        return torch.stack([torch.as_tensor(one, dtype=None if whole else torch.float64) for one in parts])
    except (TypeError, ValueError, RuntimeError) as error:
        told = ", ".join(f"a tensor {tuple(one.shape)}" if isinstance(one, Tensor) else type(one).__name__ for one in value[:4])
        raise ValueError(f"`{name}` must be of real numbers, those of a list of one shape, got a list of {told}") from error


def refuse_parameters(name: str, value: Any) -> None:
    """Raise a ValueError of a list of parameters to train, of which a constructor makes a tensor that is not trained."""
    for one in value if isinstance(value, list | tuple) else ():
        if isinstance(one, nn.Parameter) and one.requires_grad:
            raise ValueError(
                f"`{name}` must be one torch.nn.Parameter to train, got a list of them, which torch does not train"
            )
        refuse_parameters(name, one)
