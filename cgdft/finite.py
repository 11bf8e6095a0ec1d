"""Whether numbers are numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def finite(values: Tensor) -> bool:
    """Whether none is NaN or infinite: seen of their sum, in one pass, unless that overflows."""
    return math.isfinite(values.detach().sum().item()) or bool(torch.isfinite(values).all())
