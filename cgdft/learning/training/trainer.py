"""The training loop: epochs of steps, each epoch validated, logged, drawn and kept."""

from __future__ import annotations

import logging
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from cgdft.ansatz import Fixed
from cgdft.derivatives.observables import Undefined
from cgdft.functionals.models.local_multipoles import SharedExcess
from cgdft.learning.data.frames import Batch, Frame
from cgdft.learning.data.quantities import QUANTITIES
from cgdft.learning.data.units import SHOWN
from cgdft.learning.training.averaging import Average
from cgdft.learning.training.batches import Frames, as_set, batches
from cgdft.learning.training.charge_states import check_spins
from cgdft.learning.training.config import Settings
from cgdft.learning.training.distributed import World
from cgdft.learning.training.evaluation import Evaluation, evaluate
from cgdft.learning.training.output import Output
from cgdft.learning.training.prediction import minimised, reasons
from cgdft.learning.training.saving import described, environment_of
from cgdft.learning.training.schedules import Way, direct, implicit, unrolled
from cgdft.learning.training.starts import Starts
from cgdft.learning.training.step import Sums, TrainingError, backward
from cgdft.learning.training.untrained import untrained
from cgdft.model import Model
from cgdft.naming import few
from cgdft.parameter import OutOfRange
from cgdft.solver import SolverError

WAYS: Mapping[str, Way] = {"direct": direct, "implicit": implicit, "unrolled": unrolled()}
#: Labels that say nothing at another density than that of the minimum.
AT_MINIMUM = {name for name, one in QUANTITIES.items() if one.at_minimum}
#: Labels that are functions of the density alone, which is given in direct epochs.
OF_DENSITY = ("multipoles", "dipole", "quadrupole", "potential")
#: Share of an epoch's frames that may fail; one of several always may.
FAILURES = 0.01
#: The learning rate ends at this part of the first.
LAST_RATE = 0.01

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """What a training gives.

    Attributes:
        model: with the averaged weights of the best epoch.
        history: a row per epoch, as in log.csv.
        evaluation: errors of the best epoch on the validation frames.
        epoch: the best one.
    """

    model: Model
    history: list[dict[str, Any]]
    evaluation: Evaluation
    epoch: int


class Trainer:
    """Trains a model on frames; `run` goes on where an earlier run into the same folder stopped.

    Args:
        model: trained in place, by the weights that require a gradient, on the device where they are.
        train, validation: frames, each with a name of its own; labels may be missing.
        settings: see `Settings`.
        output: folder of checkpoint.pt, log.csv, train.log, loss.png and parity.png; nothing is written without.
        origin: what `model` was made of, by name, beyond what is seen of it; a run that goes on must have begun with the same.
        world: the processes that train together.
        on_best: called with the average model, its evaluation and its epoch when it is the best so far, and at the end; not
            while more than 1 % of the frames of validation have no minimum.

    Raises:
        ValueError: no frames, names twice, a model of no environment or of several, or whose weights require no gradient (those
            of `load` do not), or no label that the schedule can train; of a model with spins a molecule whose spin its
            electrons cannot have.
    """

    def __init__(
        self,
        model: Model,
        train: Frames,
        validation: Frames,
        settings: Settings | None = None,
        output: str | Path | None = None,
        *,
        origin: Mapping[str, Any] | None = None,
        world: World | None = None,
        on_best: Callable[[Model, Evaluation, int], None] | None = None,
    ) -> None:
        self.model, self.environment, self.origin = model, environment_of(model), dict(origin or {})
        self.settings, self.world, self.on_best = settings or Settings(), world or World(), on_best
        self.train, self.validation = as_set(train, "train"), as_set(validation, "validation")
        self.weights = {name: weight for name, weight in self.settings.weights.items() if weight}
        size, workers = self.settings.batch_size, self.settings.workers
        if "excess" in self.weights and not any(isinstance(module, SharedExcess) for module in model.modules()):
            raise ValueError(f"`weights` must have excess for models with `SharedExcess` alone, got {model.name}; leave it out")
        for frames in (self.train, self.validation):
            check_spins(model, (frames[k] for k in range(len(frames))))
        self.batches = batches(
            self.train, size, self.environment.cutoff, self.world, shuffle=True, seed=self.settings.seed, workers=workers
        )
        self.checked = batches(self.validation, size, self.environment.cutoff, self.world, shuffle=False, workers=workers)
        if "weights" not in self.settings.model_fields_set:
            self._leave_out_undefined()
        self.phases = self._phases()
        self.world.equalise(model)
        self.average = Average(model, self.settings.ema)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError(
                f"`model` must have weights that require a gradient, got none in {model.name}; see requires_grad_()"
            )
        self.optimiser = torch.optim.Adam(self.parameters, lr=self.settings.learning_rate)
        self.epochs = sum(n for _, n in self.phases)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimiser, self.epochs, LAST_RATE * self.settings.learning_rate
        )
        self.starts, self.validated = Starts(), Starts()
        self.stepped, self.learnt = False, set[str]()
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {"epoch": 0, "failed": math.inf, "loss": math.inf, "weights": {}}
        self.output = Output(Path(output), self.world.writes) if output is not None else None

    def run(self) -> Trained:
        """Train to the end of the schedule, or until the validation loss gets no better.

        Raises:
            TrainingError: a loss that is no number, or more than 1 % of an epoch's frames without a minimum, or at the end of
                those of validation, or no label that has a weight.
            OSError: the disk is full; the last checkpoint is intact.
            ValueError: a checkpoint in `output` that is of another training.
        """
        self._resume()
        bar = Progress(transient=True, disable=not (sys.stderr.isatty() and self.world.writes), console=_console())
        with bar:
            task = bar.add_task("training", total=self.epochs, completed=len(self.history))
            while not self._finished():
                row, evaluation = self._epoch()
                self._keep(row, evaluation)
                bar.update(task, advance=1, description=f"{row['way']}: loss {row['validation_loss']:.4g}")
        self.average.model.load_state_dict(self.best["weights"])
        self.average.model.eval()
        evaluation = self._validate()
        if _too_many(evaluation.left_out, evaluation.frames):
            raise TrainingError(
                f"epoch {self.best['epoch']}, the best of {len(self.history)}: {evaluation.left_out} of {evaluation.frames} "
                f"frames of validation have no minimum, more than 1 %: {reasons(evaluation.failed)}; train implicitly, or a "
                "functional that has a minimum whatever its weights"
            )
        if self.on_best is not None and self.world.writes:  # again: an earlier run may have ended before it
            self.on_best(self.average.model, evaluation, self.best["epoch"])
        if self.output is not None and self.world.writes:
            self.output.draw(self.history, evaluation)
        return Trained(self.average.model, self.history, evaluation, self.best["epoch"])

    def _leave_out_undefined(self) -> None:
        """Of the labels that count where none are told, those that the model does not have of bulk among the frames."""
        responses = [name for name, one in QUANTITIES.items() if one.order and name in self.weights]
        with_label: dict[str, Frame] = {}
        for one in (self.train, self.validation):
            for k in one.periodic():
                if (frame := one[k]).structure.pbc.all():
                    with_label = {**{name: frame for name in responses if name in frame.labels}, **with_label}
                if len(with_label) == len(responses):
                    break
        for name, frame in with_label.items():
            try:
                minimised(self.model, Batch.of([frame]).beside(self.model), [name]).get(name, [0])
            except SolverError:
                continue
            except Undefined as error:
                warnings.warn(f"not trained: {name}, see frame {frame.name}: {error}", stacklevel=4)
                del self.weights[name]

    def _phases(self) -> list[tuple[str, int]]:
        """The schedule, with ways that this model and these frames cannot be trained by replaced."""
        phases: list[tuple[str, int]] = [(name, n) for name, n in self.settings.schedule.items() if n]
        seen = {name for k in range(min(10, len(self.train))) for name in self.train[k].labels}
        waiting = sorted(AT_MINIMUM & self.weights.keys() & seen)
        if any(name == "direct" for name, _ in phases) and (why := self._not_directly()):
            warnings.warn(f"trained implicitly from the start: {why}", stacklevel=3)
            phases = [("implicit" if name == "direct" else name, n) for name, n in phases]
        ways = {name for name, _ in phases}
        solved = not isinstance(self.model.ansatz, Fixed)
        given = [name for name in OF_DENSITY if name in self.weights and name in seen]
        if "direct" in ways and solved and given and not self.weights.get("stationarity"):
            told = f"not trained in direct epochs: {', '.join(given)}, learnt there by a weight of `stationarity`"
            warnings.warn(told, stacklevel=3)
        if waiting and "implicit" not in ways:
            others = self.weights.keys() & (seen | ({"stationarity"} if "direct" in ways else set())) - AT_MINIMUM
            if not others:
                got = ", ".join(sorted(ways))
                raise ValueError(f"`schedule` must have implicit epochs for {', '.join(waiting)}, got {got}")
            warnings.warn(f"not trained: {', '.join(waiting)} need implicit epochs in `schedule`", stacklevel=3)
        elif waiting and ways != {"implicit"} and not self.weights.keys() - AT_MINIMUM:
            warnings.warn(f"trained implicitly from the start: {', '.join(waiting)} are of the minimum", stacklevel=3)
            phases = [("implicit", n) for _, n in phases]
        return phases

    def _not_directly(self) -> str:
        if isinstance(self.model.ansatz, Fixed):
            return ""
        try:
            direct(self.model, Batch.of([self.train[0]]).beside(self.model), [], None)
            for k in range(len(self.train)):
                if "multipoles" not in self.train[k].labels:
                    return f"frame {self.train.name(k)} has no multipoles"
                if self.train[k].labels["multipoles"].shape[1] < self.model.basis.size:
                    return f"frame {self.train.name(k)} has no multipoles of l = {self.model.basis.lmax}"
        except ValueError as error:
            return str(error)
        return ""

    @property
    def _way(self) -> str:
        """The way of the next epoch."""
        ways = [name for name, n in self.phases for _ in range(n)]
        return ways[len(self.history)]

    def _finished(self) -> bool:
        done = len(self.history)
        since = done - max(self.best["epoch"], self.epochs - self.phases[-1][1])
        return done >= self.epochs or since >= self.settings.patience

    def _epoch(self) -> tuple[dict[str, Any], Evaluation]:
        """One pass over the frames."""
        way, number = self._way, len(self.history) + 1
        rate = self.optimiser.param_groups[0]["lr"]
        sums = Sums(frames=len(self.train), learnt=self.learnt)
        self.batches.batch_sampler.set_epoch(number)  # type: ignore[union-attr]
        for batch in self.batches:
            self._step(way, batch.beside(self.model), sums, number)
        failed = self._told(sums.failed, f"epoch {number}: frame")
        if _too_many(failed, sums.frames):
            raise TrainingError(
                f"epoch {number}: {failed} of {sums.frames} frames have no minimum, more than 1 %; see the log for their "
                f"names and why; lower `learning_rate`, or train directly for longer"
            )
        if not sums.means:
            raise TrainingError(f"`weights` must be of labels that frames have, got {', '.join(self.weights)}")
        if not self.stepped and sums.loss:
            raise TrainingError(
                f"`weights` must be of labels that the model's own weights change, got {', '.join(sums.means)} of "
                f"{self.model.name}; train another architecture, or other labels"
            )
        if way != "direct":
            self._tell_of_idle([name for name, mean in sums.means.items() if mean])
        self.scheduler.step()
        evaluation = self._validate()
        found = evaluation.loss(self.weights)
        row = {"epoch": number, "way": way, "learning_rate": rate, "loss": sums.loss, "validation_loss": found}
        row |= {"failed": failed, "validation_failed": evaluation.left_out}
        row |= {f"loss_{name}": value for name, value in sums.means.items()}
        row |= {f"rmse_{name}": one.rmse * SHOWN[name][1] for name, one in evaluation.errors.items()}
        return row, evaluation

    def _tell_of_idle(self, names: list[str]) -> None:
        """Once, of errors that no weight changes, such as those of charges of a model that has none."""
        self.learnt.update(*self.world.gathered(self.learnt))
        if idle := [name for name in names if name not in self.learnt]:
            warnings.warn(f"not learnt: {', '.join(idle)}, which no weight of {self.model.name} changes", stacklevel=5)
            self.learnt.update(idle)

    def _step(self, way: str, batch: Batch, sums: Sums, number: int) -> None:
        self.model.zero_grad(set_to_none=True)
        weights = {name: weight for name, weight in self.weights.items() if way == "implicit" or name not in AT_MINIMUM}
        with _placed(f"epoch {number}, frames {few([frame.name for frame in batch.frames])}"):
            failed = backward(self.model, WAYS[way], batch, weights, self.starts, self.world, sums, self.settings.huber)
        sums.failed |= failed
        self._log(failed, f"epoch {number}: frame")
        self.world.add_gradients(self.parameters)
        if all(p.grad is None for p in self.parameters):
            return
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.clip))
        if not math.isfinite(norm):
            held = few([frame.name for frame in batch.frames])
            raise TrainingError(
                f"epoch {number}: the gradient of the loss must be a number, got {norm}; frames {held}; lower `learning_rate`"
            )
        self.stepped |= norm > 0
        self.optimiser.step()
        self.average.update(self.model)

    def _validate(self) -> Evaluation:
        epoch = f"epoch {len(self.history) + 1}, validation"
        with _placed(epoch):
            found = evaluate(
                self.average.model, self.checked, list(self.weights), self.world, self.validated, self.settings.huber
            )
        self._log(found.failed, f"{epoch}: frame")
        return found

    def _log(self, failed: Mapping[str, str], what: str) -> None:
        for name, why in failed.items() if self.world.writes else ():
            log.warning("%s %s left out: %s", what, name, why)

    def _told(self, failed: Mapping[str, str], what: str) -> int:
        """Number of frames that were left out by all processes; the first logs those of the others."""
        everywhere = {name: why for one in self.world.gathered(dict(failed)) for name, why in one.items()}
        self._log({name: why for name, why in everywhere.items() if name not in failed}, what)
        return len(everywhere)

    def _keep(self, row: dict[str, Any], evaluation: Evaluation) -> None:
        """History, the best model, and the folder."""
        self.history.append(row)
        key = (row["validation_failed"], row["validation_loss"])
        if key < (self.best["failed"], self.best["loss"]) or not self.best["weights"]:
            weights = {name: value.clone() for name, value in self.average.model.state_dict().items()}
            self.best = {"epoch": row["epoch"], "failed": key[0], "loss": key[1], "weights": weights}
        states = self.world.gathered(self._own_state()) if self.output is not None else []
        if not self.world.writes:
            return
        if self.output is not None:
            self.output.checkpoint({**self._same(), **self._state(), "own": states})
        solved = not _too_many(evaluation.left_out, evaluation.frames)
        if self.on_best is not None and self.best["epoch"] == row["epoch"] and solved:
            self.on_best(self.average.model, evaluation, row["epoch"])
        if self.output is not None:
            self.output.line(self.history, evaluation)

    # What a checkpoint holds.

    def _same(self) -> dict[str, Any]:
        """What must be the same in a training that goes on."""
        settings = self.settings.model_dump(exclude={"workers"})
        shapes = {name: list(value.shape) for name, value in self.model.state_dict().items()}
        return {
            "architecture": {"model": self.model.name, **shapes},
            "settings": {**settings, "schedule": list(map(list, settings["schedule"].items()))},
            "data": f"{self.train.hash} {self.validation.hash}",
            "processes": self.world.size,
            "origin": {**described(self.environment), **self.origin, **untrained(self.model)},
        }

    def _state(self) -> dict[str, Any]:
        return {
            "weights": self.model.state_dict(),
            "average": self.average.average.state_dict(),
            "average_steps": self.average.steps,
            "optimiser": self.optimiser.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "history": self.history,
            "best": self.best,
        }

    def _own_state(self) -> dict[str, Any]:
        """Of this process: where its solves begin, and the state of torch's generator."""
        return {"starts": self.starts.known, "validated": self.validated.known, "random": torch.get_rng_state()}

    def _resume(self) -> None:
        if self.output is None:
            return
        state = self.output.begin(self._same())
        if state is None:
            return
        self.model.load_state_dict(state["weights"])
        self.average.average.load_state_dict(state["average"])
        self.average.steps = state["average_steps"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.history, self.best = state["history"], state["best"]
        own = state["own"][self.world.rank]
        self.starts.known, self.validated.known = own["starts"], own["validated"]
        torch.set_rng_state(own["random"])
        log.info("goes on after epoch %d", len(self.history))


def _too_many(failed: int, frames: int) -> bool:
    """More than one and than a share of `FAILURES`, or all."""
    return failed > max(1.0, FAILURES * frames) or failed == frames


@contextmanager
def _placed(where: str) -> Iterator[None]:
    """Inside, what a model refuses, as a value out of its bounds, stops the training and says where."""
    try:
        yield
    except Undefined:
        raise
    except ValueError as error:
        advice = "; if it is a value of a head, positive=True keeps it so" if isinstance(error, OutOfRange) else ""
        raise TrainingError(f"{where}: {error}{advice}") from error


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True)
