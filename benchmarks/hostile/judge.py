"""What must come of a hostile input: what a slow reader reads, or a documented refusal, and nothing else."""

import contextlib
import shutil
import signal
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from benchmarks.hostile import slow
from benchmarks.hostile.archives import SUFFIX
from benchmarks.hostile.case import Case, Content, Kind
from benchmarks.hostile.pickles import CANARY
from stars.data.archives import Files, find
from stars.data.exchange.annotations import import_pickle
from stars.data.exchange.bodies import Arrangement
from stars.data.exchange.folder import import_folder
from stars.data.exchange.npz import import_npz
from stars.data.layouts import layout
from stars.data.ntu import process
from stars.data.packed import JOINT_LAYOUT, Packed
from stars.data.packing import count_valid
from stars.data.pku import parse_frames, parse_labels
from stars.data.skeleton import Recording, Unreadable, parse

SECONDS = 20.0
"""Of the processor's time that one input may take; ten times as many may pass."""
_NAME = "S001C001P001R001A001"
_COMPARED = 2**20  # bytes: the slow readers need a gigabyte for thirty megabytes
_KINECT = Arrangement(layout=layout(JOINT_LAYOUT))

Outcome = Literal["read", "refused"]
T = TypeVar("T")


class Violation(Exception):  # noqa: N818 - it reads as what it says
    """An input did what no input may."""


class _TooSlow(BaseException):
    """Outside of Exception, so that nothing on the way takes it for its own."""


def judge(case: Case, folder: Path, seconds: float = SECONDS) -> Outcome:
    """Read an input as the commands do.

    Args:
        case: the input.
        folder: an empty folder, which is the working directory too; empty again afterwards.
        seconds: what it may take.

    Raises:
        Violation: another exception than those documented, another result than the slow reader's, something left
            behind, something executed, a warning of arithmetic, or too many seconds.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", RuntimeWarning)
        try:
            with _limited(seconds):
                outcome = _JUDGES[case.kind](case.content, folder)
        except (Violation, _TooSlow) as problem:
            raise Violation(f"{case.kind}, {case.name}: {problem}") from problem
        except (Exception, RecursionError) as problem:
            raise Violation(f"{case.kind}, {case.name}: {type(problem).__name__}: {str(problem)[:300]}") from problem
        finally:
            was_executed = (folder / CANARY).exists()
            left = _emptied(folder)
    if was_executed:
        raise Violation(f"{case.kind}, {case.name}: it was executed")
    if left:
        raise Violation(f"{case.kind}, {case.name}: it left {left}")
    return outcome


def _skeleton(content: Content, _: Path) -> Outcome:
    text = _bytes(content)
    expected = _slowly(slow.read_skeleton, text)
    try:
        found = parse(text, _NAME)
    except Unreadable as problem:
        _check_refusal(problem, expected, f"{_NAME}.skeleton, line {problem.line}: ")
        return "refused"
    if isinstance(expected, slow.Defect):
        raise Violation(f"it was read; the slow reader refuses line {expected.line}")
    if expected is not None:
        _check_recording(found, expected)
    with contextlib.suppress(Unreadable):
        count_valid(process(found))
    return "read"


def _check_recording(found: Recording, expected: slow.Read) -> None:
    kept = np.delete(np.arange(expected.num_frames), expected.empty).tolist()
    if found.num_frames_in_file != expected.num_frames or found.dropped.tolist() != expected.empty:
        raise Violation("other frames than the slow reader's")
    if [body.id for body in found.bodies] != [one.decode(errors="backslashreplace") for one in expected.bodies]:
        raise Violation("other bodies than the slow reader's")
    for body, appearances in zip(found.bodies, expected.bodies.values(), strict=True):
        first = kept.index(appearances[0][0])
        if body.interval.tolist() != list(range(first, first + len(appearances))):
            raise Violation(f"another interval of body {body.id}")
        if not np.array_equal(body.joints, np.stack([joints for _, joints in appearances]), equal_nan=True):
            raise Violation(f"other joints of body {body.id}")


def _video(content: Content, _: Path) -> Outcome:
    text = _bytes(content)
    expected = _slowly(slow.read_video, text)
    try:
        found = parse_frames(text, _NAME)
    except Unreadable as problem:
        _check_refusal(problem, expected, f"{_NAME}.txt, line {problem.line}: ")
        return "refused"
    if isinstance(expected, slow.Defect) or (
        expected is not None and not np.array_equal(found.reshape(-1, 150), expected, equal_nan=True)
    ):
        raise Violation("the slow reader reads something else")
    return "read"


def _labels(content: Content, _: Path) -> Outcome:
    text = _bytes(content)
    expected = _slowly(slow.read_labels, text)
    try:
        found = parse_labels(text, _NAME)
    except Unreadable as problem:
        _check_refusal(problem, expected, f"{_NAME}.txt, line {problem.line}: ")
        return "refused"
    if expected is not None and [one[1:] for one in found] != expected:
        raise Violation("the slow reader reads something else")
    return "read"


def _zip(content: Content, folder: Path) -> Outcome:
    path = folder / "a.zip"
    path.write_bytes(_bytes(content))
    try:
        found = find([path], SUFFIX)
    except ValueError as problem:
        return _named(problem, path)
    files = Files(found.places, SUFFIX)
    num_read = 0
    for name, place in found.places.items():
        try:
            text = files(name)
        except Unreadable as problem:
            if not str(problem).startswith(name):
                raise Violation(f"the refusal does not name {name[:200]!r}: {problem}") from problem
            continue
        num_read += 1
        if len(content) <= _COMPARED and text != _member(path, place.member or ""):
            raise Violation("another member was read")
    return "read" if num_read else "refused"


def _member(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name).removeprefix(b"\xef\xbb\xbf")


def _npz(content: Content, folder: Path) -> Outcome:
    path = folder / "a.npz"
    path.write_bytes(_bytes(content))
    return _imported(folder / "out", lambda: import_npz(path, folder / "out"))


def _pickle(content: Content, folder: Path) -> Outcome:
    path = folder / "a.pkl"
    path.write_bytes(_bytes(content))
    return _imported(folder / "out", lambda: import_pickle(path, folder / "out"))


def _folder(content: Content, folder: Path) -> Outcome:
    raw = folder / "raw"
    raw.mkdir()
    if isinstance(content, bytes):
        raise TypeError("a folder is files by name")
    for name, one in content.items():
        (raw / name).write_bytes(one)
    return _imported(folder / "out", lambda: import_folder(raw, folder / "out", arrangement=_KINECT))


def _imported(out: Path, run: Callable[[], object]) -> Outcome:
    """A store that is whole, or a refusal that is not endless and leaves nothing."""
    try:
        run()
    except (ValueError, OSError) as problem:
        if out.exists():
            raise Violation("a store was left by an import that was refused") from problem
        if len(str(problem)) > 20_000:
            raise Violation(f"the refusal has {len(str(problem))} characters") from problem
        return "refused"
    Packed.open(out).verify()
    shutil.rmtree(out)
    return "read"


def _slowly(read: Callable[[bytes], T], text: bytes) -> T | slow.Defect | None:
    """What a slow reader says; None for what is too large for it."""
    if len(text) > _COMPARED:
        return None
    try:
        return read(text)
    except slow.Defect as defect:
        return defect


def _check_refusal(problem: Unreadable, expected: object, beginning: str) -> None:
    if not str(problem).startswith(beginning) or not problem.reason:
        raise Violation(f"the refusal does not name file and line: {problem}")
    if expected is not None and (not isinstance(expected, slow.Defect) or expected.line != problem.line):
        says = f"line {expected.line}" if isinstance(expected, slow.Defect) else "no defect"
        raise Violation(f"{problem}; the slow reader finds {says}")


def _named(problem: ValueError, path: Path) -> Outcome:
    if str(path) not in str(problem):
        raise Violation(f"the refusal does not name the file: {problem}") from problem
    return "refused"


def _bytes(content: Content) -> bytes:
    if not isinstance(content, bytes):
        raise TypeError("a file is bytes")
    return content


def _emptied(folder: Path) -> list[str]:
    """Remove everything; return what nobody should have made."""
    left = []
    for path in sorted(folder.iterdir()):
        if path.name not in {"a.zip", "a.npz", "a.pkl", "raw", "out"}:
            left.append(path.name)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return left


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise in the middle of what takes more of the processor's time, or ten times as long."""

    def stop(_: int, __: object) -> None:
        raise _TooSlow(f"it takes more than {seconds} seconds")

    timers = ((signal.SIGPROF, signal.ITIMER_PROF, seconds), (signal.SIGALRM, signal.ITIMER_REAL, 10 * seconds))
    before = [(number, signal.signal(number, stop)) for number, _, _ in timers]
    for _, timer, limit in timers:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for _, timer, _ in timers:
            signal.setitimer(timer, 0)
        for number, handler in before:
            signal.signal(number, handler)


_JUDGES: dict[Kind, Callable[[Content, Path], Outcome]] = {
    "skeleton": _skeleton,
    "pku": _video,
    "labels": _labels,
    "zip": _zip,
    "npz": _npz,
    "pickle": _pickle,
    "folder": _folder,
}
