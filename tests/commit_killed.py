"""Kill a commit at every line of the store, and look at what a reader sees. Run as a program by `test_store`.

Prints one JSON object: how many places it was killed at, and how often a reader then found the stage finished.
Every life is a forked child, so that SIGKILL is real: no `finally`, no flushing, no exit handlers.
"""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import stars.store
from stars.outcome import StoreError
from stars.probes.chance import Chance
from stars.store import Store
from tests.examples import DATA

STAGE = Chance(data=DATA)
CONTENT = {"numbers.json": b"[]", "deep/weights.bin": bytes(range(256)) * 300}


def commit(location: Path) -> None:
    """One whole attempt: write the files, commit."""
    store = Store(location)
    attempt = store.begin(STAGE)
    for name, content in CONTENT.items():
        path = attempt.output / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    store.commit(attempt, inputs={}, measured={"seconds": 1.0})


def look(location: Path) -> None:
    """Exit with 0 when absent, 10 when finished with the right bytes, 20 on anything else."""
    store = Store(location)
    if not store.finished(STAGE):
        try:
            store.output(STAGE)
        except StoreError:
            os._exit(0)
        os._exit(20)
    folder = store.output(STAGE)
    right = all((folder / name).read_bytes() == content for name, content in CONTENT.items())
    os._exit(10 if right else 20)


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked child. Returns its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as problem:
            sys.stderr.write(f"{type(problem).__name__}: {problem}\n")
            os._exit(30)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(line: int, location: Path) -> int:
    """Commit in a child that dies when it has run `line` lines of the store."""
    seen = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal seen
        if frame.f_code.co_filename != stars.store.__file__:
            return None
        seen += event == "line"
        if seen == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def work() -> None:
        sys.settrace(trace)
        commit(location)

    return in_child(work)


def main() -> None:
    """Kill at line 1, 2, 3, … until a life is long enough to finish."""
    line, finished = 0, 0
    while True:
        line += 1
        with tempfile.TemporaryDirectory() as folder:
            location = Path(folder)
            status = killed_at(line, location)
            seen = in_child(lambda location=location: look(location))
            if status not in (0, -signal.SIGKILL) or seen not in (0, 10):
                sys.exit(f"killed at line event {line}: child {status}, reader {seen}")
            finished += seen == 10
            # Whatever the first life left behind, the same work done again succeeds.
            again = in_child(lambda location=location: commit(location))
            if again != 0 or in_child(lambda location=location: look(location)) != 10:
                sys.exit(f"killed at line event {line}: the next attempt did not finish")
        if status == 0:
            break
    sys.stdout.write(json.dumps({"killed": line - 1, "finished": finished}))


if __name__ == "__main__":
    main()
