"""The values behind the numbers, each written down once: a nested stage or data set is a link to its own entry.

A probe's canonical JSON holds every stage it needs, a few kilobytes a number. Here it is cut at its stages: with every
link replaced by the entry it leads to, the text is the canonical JSON again, byte for byte, and its SHA-256 the
fingerprint.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from analysis.report.view import Entry
from stars.outcome import Outcome

Pieces: TypeAlias = "list[tuple[str, str]]"
_DATA = "data.dataset.Data"
_SHOWN = ("recipe", "seconds", "gpu_seconds", "device", "workers", "threads", "code", "libraries", "finished")


def anchor(fingerprint: str) -> str:
    """Where a value stands in the page."""
    return f"v-{fingerprint[:16]}"


def fingerprint_of(value: Mapping[str, Any]) -> str:
    """SHA-256 of a recorded value's canonical JSON, as `stars.stage.fingerprint` gives it."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def canonical(value: object) -> str:
    """Canonical JSON of a recorded value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def entries(outcomes: Mapping[str, Outcome]) -> list[tuple[str, list[Entry]]]:
    """Every value in these outcomes, once, by kind: what was recorded, and what stands inside it.

    Args:
        outcomes: the last ones, by step (`kind/fingerprint`).
    """
    facts = {step.partition("/")[2]: _facts(step, outcome) for step, outcome in outcomes.items()}
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for step, outcome in outcomes.items():
        kind, _, fingerprint = step.partition("/")
        found[fingerprint] = (kind, outcome.value)
        for inner in _nested(outcome.value):
            name = fingerprint_of(inner)
            if name not in found:
                found[name] = (str(inner["type"]).rpartition(".")[2].lower(), inner)
    by_kind: dict[str, list[Entry]] = {}
    for fingerprint, (kind, value) in found.items():
        by_kind.setdefault(kind, []).append(
            Entry(
                anchor=anchor(fingerprint),
                kind=kind,
                fingerprint=fingerprint,
                document=_pieces(value),
                facts=facts.get(fingerprint, ()),
            )
        )
    return sorted(by_kind.items())


def seeds(value: object) -> dict[str, int]:
    """Seeds of a recorded value and everything in it, by kind."""
    found: dict[str, int] = {}
    if isinstance(value, Mapping):
        for content in value.values():
            found |= seeds(content)
        if "seed" in value and "type" in value:
            found[str(value["type"]).rpartition(".")[2].lower()] = value["seed"]
    elif isinstance(value, list):
        for content in value:
            found |= seeds(content)
    return found


def _is_entry(content: object) -> bool:
    return isinstance(content, Mapping) and ("version" in content or content.get("type") == _DATA)


def _nested(content: object) -> Iterator[Mapping[str, Any]]:
    """Every stage and data set inside a value, itself left out."""
    inner = content.values() if isinstance(content, Mapping) else content if isinstance(content, list) else ()
    for item in inner:
        if isinstance(item, Mapping) and _is_entry(item):
            yield item
        yield from _nested(item)


def _pieces(value: Mapping[str, Any]) -> Pieces:
    """The canonical JSON, cut where another entry stands."""
    merged: Pieces = []
    for text, link in _written(value, outermost=True):
        if merged and not link and not merged[-1][1]:
            merged[-1] = (merged[-1][0] + text, "")
        else:
            merged.append((text, link))
    return merged


def _written(content: object, *, outermost: bool = False) -> Iterator[tuple[str, str]]:
    if isinstance(content, Mapping):
        if not outermost and _is_entry(content):
            name = fingerprint_of(content)
            yield f"{str(content['type']).rpartition('.')[2]} {name[:12]}", anchor(name)
            return
        for number, key in enumerate(sorted(content)):
            yield ("," if number else "{") + canonical(key) + ":", ""
            yield from _written(content[key])
        yield "}" if content else "{}", ""
    elif isinstance(content, list):
        yield "[", ""
        for number, item in enumerate(content):
            if number:
                yield ",", ""
            yield from _written(item)
        yield "]", ""
    else:
        yield canonical(content), ""


def _facts(step: str, outcome: Outcome) -> list[tuple[str, str]]:
    found = [("status", outcome.status + (f": {outcome.reason}" if outcome.reason else ""))]
    if held := seeds(outcome.value):
        found.append(("seeds", ", ".join(f"{kind} {seed}" for kind, seed in sorted(held.items()))))
    found += [(name, str(outcome.measured[name])) for name in _SHOWN if outcome.measured.get(name) not in (None, "")]
    return [*found, ("in the store", f"{step}/attempts/{outcome.attempt}")]
