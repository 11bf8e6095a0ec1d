"""Functionals whose parameters are learnt: environments of atoms, heads on them, data sets and training."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch

# before anything imports e3nn: 0.4.4 keeps slices in a file that torch reads, and torch refuses them from 2.6 on
# ruff: noqa: E402
torch.serialization.add_safe_globals([slice])

from cgdft.learning.convex import ConvexLocal
from cgdft.learning.data.frames import Batch, Frame
from cgdft.learning.directions import DipoleElectronegativity, OffCentre
from cgdft.learning.environment import Environment
from cgdft.learning.heads import Coefficients, PassedHead, Scalar, Shares
from cgdft.learning.message_passing import MessagePassing
from cgdft.learning.short_range import ShortRange
from cgdft.learning.susceptibility import BondColumns, Columns, DipoleColumns, SiteColumns, SusceptibilityFactor
from cgdft.learning.with_charges import WithCharges

if TYPE_CHECKING:
    from cgdft.learning.data.sets import FrameSet
    from cgdft.learning.training.config import Settings
    from cgdft.learning.training.run import train
    from cgdft.learning.training.saving import load, save
    from cgdft.learning.training.trainer import Trained, Trainer

# Imported at first use, with what they need to draw, to show progress and to read files.
_HOME = {
    "FrameSet": "data.sets",
    "Settings": "training.config",
    "Trained": "training.trainer",
    "Trainer": "training.trainer",
    "load": "training.saving",
    "save": "training.saving",
    "train": "training.run",
}

__all__ = [
    "Batch",
    "BondColumns",
    "Coefficients",
    "Columns",
    "ConvexLocal",
    "DipoleColumns",
    "DipoleElectronegativity",
    "Environment",
    "Frame",
    "FrameSet",
    "MessagePassing",
    "OffCentre",
    "PassedHead",
    "Scalar",
    "Settings",
    "Shares",
    "ShortRange",
    "SiteColumns",
    "SusceptibilityFactor",
    "Trained",
    "Trainer",
    "WithCharges",
    "load",
    "save",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"cgdft.learning.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'cgdft.learning' has no attribute {name!r}")
