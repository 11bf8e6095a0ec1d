"""Solvers, one a file."""

from cgdft.solvers.answers import Answers
from cgdft.solvers.cg import CG
from cgdft.solvers.direct import Direct
from cgdft.solvers.fixed_point import FixedPoint
from cgdft.solvers.newton import Newton
from cgdft.solvers.self_consistent import SelfConsistent

__all__ = ["CG", "Answers", "Direct", "FixedPoint", "Newton", "SelfConsistent"]

if __name__ != "cgdft.solvers":
    raise ImportError("this folder installs as `cgdft.solvers`; write `from cgdft.solvers import ...`")
