"""Functionals whose parameters are learnt: environments of atoms, heads on them, data sets and training."""

from cgdft.learning.convex import ConvexLocal
from cgdft.learning.environment import Environment
from cgdft.learning.frames import Batch, Frame
from cgdft.learning.heads import Coefficients, PassedHead, Scalar, SusceptibilityFactor
from cgdft.learning.message_passing import MessagePassing
from cgdft.learning.short_range import ShortRange

__all__ = [
    "Batch",
    "Coefficients",
    "ConvexLocal",
    "Environment",
    "Frame",
    "MessagePassing",
    "PassedHead",
    "Scalar",
    "ShortRange",
    "SusceptibilityFactor",
]
