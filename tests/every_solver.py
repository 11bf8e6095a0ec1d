"""The solvers that the universal tests try; those that iterate slowly only where little is asked of them."""

from cgdft.solvers import CG, Direct, FixedPoint, Newton

SOLVERS = {
    "Direct": Direct(),
    "CG": CG(),
    "Newton": Newton(),
    "Anderson": FixedPoint(mixing=0.4, history=12),
    "linear mixing": FixedPoint(mixing=0.3, history=0, max_iterations=5000),
}
SLOW = ("linear mixing",)
QUADRATIC_ONLY = (Direct, CG)
