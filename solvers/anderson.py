"""The best combination of the last steps of a fixed-point iteration.

Source: D. G. Anderson, J. ACM 12, 547 (1965); H. F. Walker, P. Ni, SIAM J. Numer. Anal. 49, 1715 (2011).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cgdft.problems.constraint_rows import ConstraintRows


@dataclass
class Anderson:
    """x <- x + beta f - sum_k gamma_k (dx_k + beta df_k), gamma the least squares of f - sum_k gamma_k df_k in each structure.

    Args:
        rows: which x belongs to which structure.
        mixing: beta.
        history: steps kept; 0 for linear mixing.
    """

    rows: ConstraintRows
    mixing: float
    history: int
    _last: tuple[Tensor, Tensor] | None = None
    _steps: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def move(self, x: Tensor, f: Tensor) -> Tensor:
        """What to add to x, where output less input is f."""
        if self._last is not None and self.history:
            self._steps = [*self._steps, (x - self._last[0], f - self._last[1])][-self.history :]
        self._last = x, f
        change = self.mixing * f
        if not self._steps:
            return change
        matrix = torch.stack([self.rows.pad(df) for _, df in self._steps], 2)
        gamma = (torch.linalg.pinv(matrix) @ self.rows.pad(f)[..., None])[..., 0]
        for k, (dx, df) in enumerate(self._steps):
            change = change - gamma[self.rows.index, k] * (dx + self.mixing * df)
        return change
