"""What a training is told: settings of the training itself, and the YAML file that states a whole one."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from os import PathLike
from os.path import isfile
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from ase.data import chemical_symbols
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cgdft import pretrained
from cgdft.learning.architectures import learnt_from, names
from cgdft.learning.data.quantities import QUANTITIES
from cgdft.learning.training.loss import EXTRA
from cgdft.naming import shortened

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


def _label(name: str) -> str:
    known = [*QUANTITIES, *EXTRA]
    if name not in known:
        raise ValueError(f"must be of {', '.join(known)}, got {name!r}")
    return name


#: A label, or what else may have a weight.
Label = Annotated[str, AfterValidator(_label)]
Way = Literal["direct", "implicit", "unrolled"]

#: What errors count, in units of the scales of `QUANTITIES`, where nothing is told.
WEIGHTS = {**{name: one.weight for name, one in QUANTITIES.items() if one.weight}, "stationarity": 1.0}


def _device(name: str) -> str:
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise ValueError(f"must be cpu, cuda or cuda:1, got {name!r}")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ValueError(f"must be there, got {name!r}: torch {torch.__version__} sees {torch.cuda.device_count()} GPUs")
    return name


def _no_truths(given: object) -> object:
    """A mapping to numbers, of which true and false are none here."""
    if isinstance(given, dict) and (truths := [str(key) for key, value in given.items() if isinstance(value, bool)]):
        raise ValueError(f"must be numbers, got true or false for {', '.join(truths)}")
    return given


def _listed(given: object) -> object:
    """One file as a list of it."""
    return [given] if isinstance(given, str | PathLike) else given


def _there(path: Path) -> Path:
    if not isfile(path):
        raise ValueError("must be a file that is there")
    return path


def _architecture(name: str) -> str:
    if name not in names() and not (name.endswith(".py") and isfile(name)):
        raise ValueError(f"must be one of {', '.join(names())}, or a Python file that is there")
    return name


def _trained(name: str) -> str:
    if name not in pretrained.names() and not isfile(name):
        raise ValueError(f"must be one of {', '.join(pretrained.names())}, or a file that is there")
    return name


File = Annotated[Path, AfterValidator(_there)]
Files = Annotated[list[File], Field(min_length=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
#: What errors are measured on: told apart by what they are, so that an error is of one of them.
Held = Annotated[
    Annotated[Files, Tag("files")] | Annotated[Fraction, Tag("fraction")],
    Discriminator(lambda given: "fraction" if isinstance(given, int | float | None) else "files"),
    BeforeValidator(_listed),
]


class _Strict(BaseModel):
    """What has no other keys, and says in a line what is wrong with those that are given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            told = [(".".join(map(str, one["loc"])), mistake(one, type(self).model_fields)) for one in error.errors()]
            raise ValueError("; ".join(f"{name}: {what}{got}" for name, (what, got) in told)) from error

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # called alone, not by those that it is a part of

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth(cls, given: object, told: ValidationInfo) -> object:
        if isinstance(given, bool) and cls.model_fields[str(told.field_name)].annotation is not bool:
            raise ValueError(f"must not be true or false, got {given}")
        return given


def mistake(one: Mapping[str, Any], known: Collection[str]) -> tuple[str, str]:
    """What one of pydantic's errors says, and what was got where it does not say that; of a key what is like it."""
    if one["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(one["loc"][-1]), known, 1)
        return "is no key; " + (f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"), ""
    if one["type"] == "missing":
        return "must be given, got nothing", ""
    what: str = one["msg"].replace("Value error, ", "").replace("Input should", "must")
    return what, "" if "got" in what else f", got {shortened(repr(one['input']))}"


class Settings(_Strict):
    """How to train, whatever the model and the data.

    Args:
        weights: of the squared errors of labels, by the names of `QUANTITIES` and `EXTRA`; those left out do not count.
        huber: errors of more than so many of their scales count linearly, not squared, lest a few frames far from the others
            decide; None: all are squared.
        schedule: epochs of each way to train, in this order.
        batch_size: frames of one step, of all processes together.
        learning_rate: of the first epoch; it falls to a hundredth along a cosine.
        ema: decay of the moving average of the weights that is kept, for a step; 0 for none.
        clip: largest norm of the gradient.
        patience: epochs without a better validation loss after which the last way of the schedule stops.
        seed: of the order of the frames.
        workers: processes that read frames.
    """

    weights: Annotated[dict[Label, Annotated[float, Field(ge=0, allow_inf_nan=False)]], BeforeValidator(_no_truths)] = WEIGHTS
    huber: Positive | None = None
    schedule: Annotated[dict[Way, Annotated[int, Field(ge=0)]], BeforeValidator(_no_truths)] = {"direct": 20, "implicit": 180}
    batch_size: Count = 16
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-3
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99
    clip: Positive = 100.0
    patience: Count = 50
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    workers: Annotated[int, Field(ge=0)] = 0

    @field_validator("weights")
    @classmethod
    def _one(cls, weights: dict[str, float]) -> dict[str, float]:
        if not any(weights.values()):
            raise ValueError("must have one above zero, got none")
        if not any(weights.get(name) for name in QUANTITIES):
            got = ", ".join(name for name, weight in weights.items() if weight)
            raise ValueError(f"must have a label, by whose errors the best epoch is chosen, above zero, got {got} alone")
        return weights

    @field_validator("schedule")
    @classmethod
    def _some(cls, schedule: dict[Way, int]) -> dict[Way, int]:
        if not sum(schedule.values()):
            raise ValueError("must have at least one epoch, got none")
        return schedule


class Data(_Strict):
    """Where frames are: files to train on, and files or a fraction of those to validate on; the rest as `FrameSet.read`.

    Files must be there. Without a fraction, 0, the frames of training are those of validation too.
    """

    train: Annotated[Files, BeforeValidator(_listed)]
    validation: Held = 0.1
    keys: dict[str, str] = {}
    units: dict[str, str] = {}
    definition: str | None = None
    charge: Annotated[float, Field(allow_inf_nan=False)] | None = None


class Network(_Strict):
    """The environment: of `MessagePassing`, the cutoff in angstrom; or `MACEFeatures` of a file of mace-torch.

    Args:
        mace: the file, a pickle, which runs code; it has all but trainable and dtype.
        trainable: whether its weights are trained too.
        dtype: of the weights; default: float32, or that of the file.
    """

    channels: Count = 32
    lmax: Annotated[int, Field(ge=0, le=3)] = 1
    layers: Count = 2
    cutoff: Annotated[float, Field(gt=0, le=100)] = 5.0
    mace: File | None = None
    trainable: bool = False
    dtype: Literal["float32", "float64"] | None = None

    @model_validator(mode="after")
    def _of_one_kind(self) -> Network:
        with_mace, told = {"mace", "trainable", "dtype"}, self.model_fields_set
        if self.mace is not None and (own := sorted(told - with_mace)):
            raise ValueError(f"must leave out what the network of `mace` has, got {', '.join(own)}")
        if self.mace is None and self.trainable:
            raise ValueError("must have `trainable` with `mace` alone: other networks are trained")
        return self


class Config(Settings):
    """A whole training, as a YAML file states it.

    Args:
        data: see `Data`.
        architecture: a name of `cgdft.learning.architectures`, or a Python file with a function model(environment, atoms).
        start: trained model, name or file, of the same architecture: training begins with its weights, not with random ones.
        environment: see `Network`; that of `start`, if there is one.
        atoms: energy of each element's free atom, hartree; "fit" to those of the data, the default; or a method
            ("pbe/def2-svp"). With `start` those it has, unless given.
        device: where it is trained: "cpu", "cuda" or "cuda:1"; of several processes, each on its own GPU, "cuda".
        output: folder of everything that is written.
    """

    data: Data
    architecture: Annotated[str, AfterValidator(_architecture)]
    start: Annotated[str, AfterValidator(_trained)] | None = None
    environment: Network | None = None
    atoms: Annotated[dict[str, float] | str | None, BeforeValidator(_no_truths)] = None
    device: Annotated[str, AfterValidator(_device)] = "cpu"
    output: Annotated[Path, Field(validate_default=True)] = Path("run")

    @field_validator("atoms")
    @classmethod
    def _of_elements(cls, atoms: dict[str, float] | str | None) -> dict[str, float] | str | None:
        unknown = [one for one in atoms if one not in chemical_symbols[1:]] if isinstance(atoms, dict) else []
        if unknown:
            raise ValueError(f"must be of chemical symbols, got {', '.join(unknown)}")
        return atoms

    @field_validator("environment")
    @classmethod
    def _its_own(cls, environment: Network | None, told: ValidationInfo) -> Network | None:
        if environment is not None and told.data.get("start") is not None:
            raise ValueError("must be left out, it is that of `start`")
        return environment

    @field_validator("output", mode="before")
    @classmethod
    def _named(cls, output: object) -> object:
        if output == "":
            raise ValueError(
                "must be a folder, got an empty name; leave it out for `run`, or write . for the one of the command"
            )
        return output

    @field_validator("output")
    @classmethod
    def _not_over_start(cls, output: Path, told: ValidationInfo) -> Path:
        start = told.data.get("start")
        written = (output / "model.safetensors").resolve()
        if start is not None and start not in pretrained.names() and Path(start).resolve() == written:
            raise ValueError(f"must not be the folder of `start`, which is written over, got {output}")
        return output

    @property
    def settings(self) -> Settings:
        """The part that does not know model and data."""
        settings = Settings(**{name: getattr(self, name) for name in Settings.model_fields.keys() & self.model_fields_set})
        labels = () if "weights" in self.model_fields_set else learnt_from(self.architecture)
        return settings.model_copy(update={"weights": {name: WEIGHTS[name] for name in labels}}) if labels else settings
