"""An experiment is a value: frozen dataclasses with one canonical form and one fingerprint.

A `Value` configures; a `Stage` is a value that can be run. A field of a stage that is itself a stage is what the
step reads; every other field configures it. So a probe's value holds the whole provenance of its number, and the
fingerprint (SHA-256 of the canonical JSON) names the step and its place in the store.

Nothing here knows torch, the store or how a stage is executed.
"""

import functools
import hashlib
import importlib
import json
import math
import numbers
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar, cast

if typing.TYPE_CHECKING:
    from stars.runtime import Runtime

T = TypeVar("T")
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_PACKAGE = "stars."
_OMITTED = "omitted_at_default"


@dataclass(frozen=True, kw_only=True)
class Value:
    """A frozen configuration whose fields are coerced to their annotated types on construction.

    Allowed annotations: `bool`, `int`, `float`, `str`, `Literal[...]`, `None`, other values, `tuple[X, ...]`,
    `tuple[X, Y]`, and unions of these. Equal meaning gives equal bytes: `1` and `1.0` do not differ in a `float`
    field, and NaN and the infinities are refused.
    """

    def __post_init__(self) -> None:
        """Coerce every field, then `check`. Raises ValueError naming field, value and what is allowed."""
        for name, annotation in _annotations(type(self)).items():  # type: ignore[arg-type]
            coerced = _coerce(annotation, getattr(self, name), f"{type(self).__name__}.{name}")
            object.__setattr__(self, name, coerced)
        self.check()

    def check(self) -> None:
        """Refuse what the types allow and the meaning does not: `ValueError` naming field, value, allowed."""


@dataclass(frozen=True, kw_only=True)
class Stage(Value):
    """A step of an experiment: reads the outputs of the stages in its fields, writes files into one folder.

    `version` is raised when the meaning of the class changes: what older code wrote is then no longer found.
    """

    version: ClassVar[int] = 1

    def trains(self) -> bool:
        """Whether this is a training loop, which several workers may share."""
        return False

    def whole(self) -> "Stage":
        """The training that this stage is the beginning of; the stage itself, unless a horizon cuts it.

        All beginnings of one training share its checkpoints: a later one goes on where an earlier one ended.
        """
        return self

    def implied(self) -> "Mapping[str, Stage]":
        """Stages that it reads beside those in its fields, by input name: what they are follows from the fields."""
        return {}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: "Runtime") -> None:
        """Do the work.

        Args:
            inputs: for every field that is a stage or a data set, and for every implied stage, the folder that holds it
                (read only). A tuple of stages called `name` appears as `name[0]`, `name[1]`, …
            out: an empty folder; what is in it when `run` returns becomes the stage's output.
            runtime: rank, device, collective operations, progress and checkpoints.
        """
        raise NotImplementedError(type(self).__name__)


V = TypeVar("V", bound=Value)


def later(default: T) -> T:
    """A field added to a published class: left out of the canonical form while it has its default.

    Without this, a new field re-keys everything that older code has already computed.
    """
    return field(default=default, metadata={_OMITTED: True})


def kind(stage: Stage | type[Stage]) -> str:
    """The stage's folder in the store: its class name in lower case."""
    cls = stage if isinstance(stage, type) else type(stage)
    return cls.__name__.lower()


def tag(cls: type[Value]) -> str:
    """The class's stable name, `module.Class` below `stars`. Raises TypeError for classes from elsewhere.

    A class that has moved keeps its identity by declaring `moved_from = "old.module.Class"` and staying importable
    from there.
    """
    moved: object = cls.__dict__.get("moved_from")
    if isinstance(moved, str):
        return moved
    path = f"{cls.__module__}.{cls.__qualname__}"
    if not path.startswith(_PACKAGE) or "<locals>" in path:
        raise TypeError(f"{path}: only classes at the top of a module of {_PACKAGE}* have a canonical form")
    return path.removeprefix(_PACKAGE)


def encode(value: Value) -> dict[str, Json]:
    """The value as plain JSON data, nested values included."""
    document: dict[str, Json] = {"type": tag(type(value))}
    if isinstance(value, Stage):
        document["version"] = value.version
    for item in fields(value):
        content = getattr(value, item.name)
        if not (item.metadata.get(_OMITTED) and content == item.default):
            document[item.name] = _encode(content)
    return document


def decode(document: Mapping[str, Any]) -> Value:
    """The value that `encode` wrote. Loads only classes of `stars.*`.

    Raises:
        ValueError: an unknown class, an unknown or missing field, or a stage recorded under another version.
    """
    cls = _find(document.get("type"))
    known = {item.name: item for item in fields(cls)}
    given = {name: content for name, content in document.items() if name not in ("type", "version")}
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"{document['type']}: unknown field {unknown[0]!r}; known are {', '.join(known)}")
    if missing := [n for n, item in known.items() if n not in given and not item.metadata.get(_OMITTED)]:
        raise ValueError(f"{document['type']}: field {missing[0]!r} is missing")
    if issubclass(cls, Stage) and document.get("version") != cls.version:
        recorded = document.get("version")
        raise ValueError(f"{document['type']}: recorded as version {recorded}, this code has version {cls.version}")
    return cls(**{name: _decode(content) for name, content in given.items()})


def canonical(value: Value) -> str:
    """Canonical JSON: sorted keys, no spaces, shortest round-trip floats, no NaN."""
    return json.dumps(encode(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


@functools.lru_cache(maxsize=65536)
def fingerprint(value: Value) -> str:
    """SHA-256 of the canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def needs(stage: Stage) -> dict[str, Stage]:
    """What the stage reads: its fields that are stages, and those that they imply, by input name."""
    return {**children(stage, Stage), **stage.implied()}


def children(stage: Stage, cls: type[V]) -> dict[str, V]:
    """The direct fields (and members of tuple fields) of `stage` that are instances of `cls`, by input name."""
    found: dict[str, V] = {}
    for item in fields(stage):
        content = getattr(stage, item.name)
        if isinstance(content, cls):
            found[item.name] = content
        elif isinstance(content, tuple):
            found.update({f"{item.name}[{i}]": v for i, v in enumerate(content) if isinstance(v, cls)})
    return found


def upstream(*targets: Stage) -> list[Stage]:
    """Every distinct stage that the targets need, and the targets themselves, inputs before readers."""
    order: dict[Stage, None] = {}

    def visit(stage: Stage) -> None:
        if stage not in order:
            for needed in needs(stage).values():
                visit(needed)
            order[stage] = None

    for target in targets:
        visit(target)
    return list(order)


@functools.cache
def _annotations(cls: type) -> dict[str, Any]:
    if not is_dataclass(cls):
        raise TypeError(f"{cls.__name__} is not a dataclass")
    hints = typing.get_type_hints(cls)
    return {item.name: hints[item.name] for item in fields(cls)}


def _coerce(annotation: Any, given: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(arguments, given, where)
    if origin is Literal:
        if given not in arguments or type(given) not in {type(a) for a in arguments}:
            raise ValueError(f"{where} is {given!r}; allowed: {', '.join(map(repr, arguments))}")
        return given
    if origin is tuple:
        return _coerce_tuple(arguments, given, where)
    if isinstance(annotation, type) and issubclass(annotation, Value):
        return _require(isinstance(given, annotation), given, given, where, f"a {annotation.__name__}")
    if annotation is type(None):
        return _require(given is None, given, given, where, "None")
    if annotation is str:
        return _require(isinstance(given, str), given, given, where, "a string")
    if annotation is bool:
        is_bool = type(given).__name__ in ("bool", "bool_")
        return _require(is_bool, given, bool(given) if is_bool else None, where, "True or False")
    if annotation in (int, float):
        return _coerce_number(annotation, given, where)
    raise TypeError(f"{where}: {annotation!r} cannot be the type of a value's field")


def _coerce_number(annotation: type, given: Any, where: str) -> int | float:
    real = isinstance(given, numbers.Real) and type(given).__name__ not in ("bool", "bool_")
    if annotation is int:
        whole = real and (isinstance(given, numbers.Integral) or float(given).is_integer())
        return cast(int, _require(whole, given, int(given) if whole else None, where, "a whole number"))
    finite = real and math.isfinite(given)
    # Adding zero turns -0.0 into 0.0: they are equal and must not have two fingerprints.
    return cast(float, _require(finite, given, float(given) + 0.0 if finite else None, where, "a finite number"))


def _coerce_union(arms: tuple[Any, ...], given: Any, where: str) -> Any:
    exact = [arm for arm in arms if isinstance(arm, type) and type(given) is arm]
    problems = []
    for arm in (*exact, *arms):
        try:
            return _coerce(arm, given, where)
        except ValueError as problem:
            problems.append(str(problem).split("; allowed: ")[-1])
    raise ValueError(f"{where} is {given!r}; allowed: {' or '.join(dict.fromkeys(problems))}")


def _coerce_tuple(arguments: tuple[Any, ...], given: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(given, (tuple, list, range)):
        raise ValueError(f"{where} is {given!r}; allowed: a sequence")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(given)
    if len(arguments) != len(given):
        raise ValueError(f"{where} is {given!r}; allowed: {len(arguments)} entries")
    return tuple(_coerce(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(arguments, given, strict=True)))


def _require(holds: bool, given: Any, coerced: T, where: str, allowed: str) -> T:
    if not holds:
        raise ValueError(f"{where} is {given!r}; allowed: {allowed}")
    return coerced


def _encode(content: Any) -> Json:
    if isinstance(content, Value):
        return encode(content)
    if isinstance(content, tuple):
        return [_encode(member) for member in content]
    return cast(Json, content)


def _decode(content: Any) -> Any:
    if isinstance(content, Mapping):
        return decode(content)
    if isinstance(content, list):
        return tuple(_decode(member) for member in content)
    return content


def _find(name: object) -> type[Value]:
    module, _, cls_name = str(name).rpartition(".")
    if not all(part.isidentifier() for part in str(name).split(".")) or not module:
        raise ValueError(f"{name!r} does not name a class of {_PACKAGE}*")
    try:
        cls = getattr(importlib.import_module(_PACKAGE + module), cls_name)
    except (ImportError, AttributeError) as problem:
        raise ValueError(f"{name!r} does not name a class of {_PACKAGE}*: {problem}") from problem
    if not (isinstance(cls, type) and issubclass(cls, Value) and tag(cls) == name):
        raise ValueError(f"{name!r} does not name a value of {_PACKAGE}*")
    return cls
