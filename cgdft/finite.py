"""Whether numbers are numbers, and tensors what they must be."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def finite(values: Tensor) -> bool:
    """Whether none is NaN or infinite: seen of their sum, in one pass, unless that overflows."""
    return math.isfinite(values.detach().sum().item()) or bool(torch.isfinite(values).all())


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
