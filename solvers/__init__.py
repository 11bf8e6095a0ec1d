"""Solvers, one a file."""

from cgdft.solvers.cg import CG
from cgdft.solvers.direct import Direct
from cgdft.solvers.fixed_point import FixedPoint
from cgdft.solvers.newton import Newton

__all__ = ["CG", "Direct", "FixedPoint", "Newton"]

if __name__ != "cgdft.solvers":
    raise ImportError("this folder installs as `cgdft.solvers`; write `from cgdft.solvers import ...`")
