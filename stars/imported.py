"""Encoders that were trained elsewhere: imported from a file of weights, as the start of sweeps."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stars.checkpoints.layouts import Layout, Weights
from stars.encoders import EncoderStage, save_tensors
from stars.model.encoder import EncoderShape
from stars.outcome import StoreError, sha256
from stars.provenance import code_version, device_name, library_versions
from stars.runtime import Runtime
from stars.stage import Value, decode, fingerprint, kind
from stars.store import Store

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")
_FINGERPRINT = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, kw_only=True)
class Imported(EncoderStage):
    """An encoder from a file of weights. Its output is written by the import, never by a run.

    Attributes:
        name: what it is called on the command line and in tables.
        content: SHA-256 of the tensors that were taken, 64 hexadecimal digits.
        encoder: the encoder's sizes.
        layout: of the file: MAMP's, STARS's, or bare names.
    """

    name: str
    content: str
    encoder: EncoderShape
    layout: Layout

    def check(self) -> None:
        """Refuse names that could be taken for a fingerprint or an option, and what is no hash."""
        if not _NAME.fullmatch(self.name) or _FINGERPRINT.fullmatch(self.name):
            allowed = "letters, digits and . _ + -, at most 80, and not hexadecimal digits alone"
            raise ValueError(f"Imported.name is {self.name!r}; allowed: {allowed}")
        if not re.fullmatch(r"[0-9a-f]{64}", self.content):
            raise ValueError(f"Imported.content is {self.content!r}; allowed: 64 hexadecimal digits")

    def encoder_shape(self) -> EncoderShape:
        """The encoder's sizes."""
        return self.encoder

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:  # noqa: ARG002
        """Nothing can compute it. Raises StoreError that says how it comes into a store."""
        raise StoreError(
            f"the imported encoder {self.name} (content {self.content[:12]}) is not in this store; put it there with "
            "`python -m stars import-checkpoint FILE --name NAME`, from the same file"
        )


def imported(name: str, weights: Weights) -> Imported:
    """The value that stands for these weights under this name. Raises ValueError for a name that cannot be."""
    return Imported(name=name, content=weights.content(), encoder=weights.shape, layout=weights.layout)


def keep(store: Store, stage: Imported, weights: Weights, path: Path) -> bool:
    """Commit the weights as the stage's output, unless they are there; returns whether this call did.

    Leaves `encoder.safetensors`, and `decoder.safetensors`, `objective.safetensors` and `teacher.safetensors` where the
    file had them, under the names that pretraining and tuning write.

    Args:
        store: where.
        stage: from `imported`, of these weights.
        weights: the tensors.
        path: the file that they come from, for the record.
    """
    if store.finished(stage):
        return False
    attempt = store.begin(stage)
    for part, tensors in weights.parts().items():
        save_tensors(attempt.output / f"{part}.safetensors", tensors)
    measured: dict[str, Any] = {
        "seconds": 0.0,
        "gpu_seconds": 0.0,
        "device": device_name(torch.device("cpu")),
        "workers": 1,
        "recipe": "",
        "code": code_version(),
        "libraries": library_versions(),
        "file": path.name,
        "file_sha256": sha256(path),
    }
    return store.commit(attempt, inputs={}, measured=measured).attempt == attempt.name


def all_imported(store: Store) -> list[Imported]:
    """Every encoder that was imported into the store."""
    return [stage for stage in _finished(store, kind(Imported), "*") if isinstance(stage, Imported)]


def find(store: Store, text: str) -> EncoderStage:
    """The finished encoder of a store that a name or the beginning of a fingerprint means.

    Args:
        store: where.
        text: the name of an imported encoder; or at least 8 hexadecimal digits of the fingerprint of any stage that
            leaves an encoder.

    Raises:
        ValueError: there is none, or there are several.
    """
    if _FINGERPRINT.fullmatch(text):
        found = [stage for stage in _finished(store, "*", f"{text}*") if isinstance(stage, EncoderStage)]
    else:
        found = [stage for stage in all_imported(store) if stage.name == text]
    if not found:
        raise ValueError(
            f"{text!r} is no encoder in {store.location}; allowed: a name given to "
            "`python -m stars import-checkpoint`, or 8 or more digits of the fingerprint of a finished encoder"
        )
    if len(found) > 1:
        several = ", ".join(f"{kind(stage)} {fingerprint(stage)[:16]}" for stage in found)
        raise ValueError(f"{text!r} means several encoders of {store.location}: {several}; allowed: one fingerprint")
    return found[0]


def _finished(store: Store, kinds: str, names: str) -> Iterator[Value]:
    """The values of finished stages whose folders match."""
    for document in sorted(store.location.glob(f"{kinds}/{names}/outcome.json")):
        folder = document.parent
        outcome, _ = store.last_outcome(folder.parent.name, folder.name)
        if outcome is not None and outcome.status == "finished":
            yield decode(outcome.value)
