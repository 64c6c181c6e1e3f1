"""What a store holds: every stage with how it ended and the bytes it takes, and the other folders."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stars.store import Store


@dataclass(frozen=True, kw_only=True)
class Held:
    """One stage of a store.

    Attributes:
        kind: the stage's folder.
        fingerprint: the stage.
        status: `finished`, `diverged`, `oom`, or `unfinished` when it has no outcome.
        attempt: the attempt that finished; empty when none did.
        output_bytes: of the output that readers see.
        checkpoint_bytes: of the checkpoints that an unfinished stage, or the retry of a failed one, would resume from.
        idle_bytes: of everything else: attempts that no reader sees.
        depth: grows along the experiment: a reader's is greater than that of anything it reads; 0 without an outcome.
    """

    kind: str
    fingerprint: str
    status: str
    attempt: str
    output_bytes: int
    checkpoint_bytes: int
    idle_bytes: int
    depth: int

    @property
    def name(self) -> str:
        """Kind and fingerprint, as plans list them."""
        return f"{self.kind}/{self.fingerprint}"


def inventory(store: Store) -> Iterator[Held]:
    """Every stage that was begun or finished, by kind and fingerprint. Raises StoreError for an unreadable outcome."""
    for stage_kind, fingerprint in store.stages():
        yield held(store, stage_kind, fingerprint)


def held(store: Store, stage_kind: str, fingerprint: str) -> Held:
    """One stage, whose files are looked at but not read. Raises StoreError when its outcome cannot be read."""
    last, _ = store.last_outcome(stage_kind, fingerprint)
    attempt = last.attempt if last is not None and last.status == "finished" else ""
    output = checkpoints = total = 0
    for folder in attempts(store, stage_kind, fingerprint):
        total += size(folder)
        if folder.name == attempt:
            output = size(folder / "output")
        elif not attempt:
            checkpoints += size(folder / "checkpoints")
    return Held(
        kind=stage_kind,
        fingerprint=fingerprint,
        status=last.status if last is not None else "unfinished",
        attempt=attempt,
        output_bytes=output,
        checkpoint_bytes=checkpoints,
        idle_bytes=total - output - checkpoints,
        # The value of a reader contains the values of what it reads, and so is longer.
        depth=len(json.dumps(last.value)) if last is not None else 0,
    )


def attempts(store: Store, stage_kind: str, fingerprint: str) -> list[Path]:
    """The folders of all attempts at a stage."""
    folder = store.location / stage_kind / fingerprint / "attempts"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def other_folders(store: Store) -> dict[str, tuple[int, int]]:
    """Number and bytes of the files in every folder of the store that holds no stages, by name."""
    kinds = {stage_kind for stage_kind, _ in store.stages()}
    found = {}
    for folder in sorted(store.location.iterdir()):
        if folder.is_dir() and folder.name not in kinds:
            sizes = [status.st_size for _, status in files_below(folder)]
            found[folder.name] = (len(sizes), sum(sizes))
    return {name: counted for name, counted in found.items() if counted[0]}


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 when it is not there."""
    if path.is_dir():
        return sum(status.st_size for _, status in files_below(path))
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def files_below(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every file below a folder; what disappears meanwhile, as a running attempt's files may, is left out."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            try:
                yield path, path.lstat()
            except FileNotFoundError:
                continue


def shown_bytes(number: float) -> str:
    """A number of bytes for people, in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
