"""Kill a search at random places, open it again, go on. Run as a program by `test_search`.

    python -m tests.cluster.search_killed <folder> <suggestions> <in flight> <seed>

Prints one JSON object: how often it was killed, and what it found in the end. Every life is a forked child, so that
SIGKILL is real. Half of the time the last line of the journal is torn as well, as if it had died while writing it.
"""

import json
import os
import random
import signal
import sys
from pathlib import Path

from optuna.storages.journal import JournalFileBackend
from optuna.study import Study as OptunaStudy
from optuna.trial import Trial

from cluster.search import Search
from cluster.study import Study
from tests.cluster.fake_search import drive, history, opened
from tests.processes import dying_at_line

# The lines that write, those that decide what is written, and Optuna's own between two writes.
SOURCES = frozenset(
    function.__code__
    for owner in (Study, Search, OptunaStudy, Trial, JournalFileBackend)
    for name in (
        "__init__",
        "_recover",
        "_decide",
        "_sample",
        "_tell_failure",
        "record",
        "ask",
        "ended",
        "_judge",
        "tell",
        "add_trial",
        "_suggest",
        "report",
        "set_user_attr",
        "append_logs",
    )
    if hasattr(function := vars(owner).get(name), "__code__")
)


def life(location: Path, num_suggestions: int, in_flight: int, line: int) -> int:
    """One driver in a child that dies at a line. Returns its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            with dying_at_line(line, SOURCES):
                drive(location, num_suggestions=num_suggestions, in_flight=in_flight)
            os._exit(0)
        except BaseException as problem:
            sys.stderr.write(f"{type(problem).__name__}: {problem}\n")
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def tear(journal: Path, dice: random.Random) -> None:
    """Leave only a part of the last line."""
    content = journal.read_bytes()
    start = content.rstrip(b"\n").rfind(b"\n") + 1
    if content:
        journal.write_bytes(content[: dice.randrange(start, len(content))])


def main(location: Path, num_suggestions: int, in_flight: int, seed: int) -> None:
    """Kill it until it survives."""
    dice, kills = random.Random(seed), 0
    # Later and later, because what was found is read again first.
    while status := life(location, num_suggestions, in_flight, dice.randrange(1, 600 + 150 * kills)):
        if status != -signal.SIGKILL:
            raise RuntimeError(f"a driver ended with {status} after {kills} kills")
        kills += 1
        journals = list(location.glob("searches/*/*.journal"))
        if journals and dice.random() < 0.5:
            tear(journals[0], dice)
    search = opened(location, num_suggestions=num_suggestions)
    result = {"kills": kills, "finished": not search.start() and search.finished, "history": history(search)}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
