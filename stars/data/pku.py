"""PKU-MMD I and II: the text of a video's skeletons, its labels and the data set's own splits, as samples.

A video is one text file: a line a frame, 150 numbers, x y z of 25 joints of two persons in metres, zeros for who is
absent. Its label file has a line an action: class (from 1), first frame, frame after the last, confidence. An action
is a sample: cut out, without translation or any other change, of 300 frames at most (published code).

    0002-L.txt        phase I: video, view (left, middle or right)
    A01N02-L.txt      phase II
"""

import array
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32

from stars.data.archives import Files, find
from stars.data.ntu import NtuName
from stars.data.packed import UNKNOWN, Manifest
from stars.data.packing import Packer, count_valid
from stars.data.preparing import Chunk, Progress, Ready, Results, cut, pack, work_of
from stars.data.skeleton import NUM_JOINTS, Unreadable

PkuDataSet = Literal["pku1", "pku2"]

SUFFIX = ".txt"
MAX_FRAMES = 300  # the published arrays hold no more
NUM_CLASSES = 51
CAMERAS = {"L": 1, "M": 2, "R": 3}
"""The view that a video's name ends with, as the index counts cameras."""
_VIDEO = {"pku1": r"[0-9]{4}-([LMR])", "pku2": r"A[0-9]{2}N[0-9]{2}-([LMR])"}
_SHOWN = {"pku1": "0002-L", "pku2": "A01N02-L"}
SPLITS: dict[PkuDataSet, dict[str, str]] = {
    "pku1": {"XSub": "cross-subject.txt", "XView": "cross-view.txt"},
    "pku2": {"XSub": "cross-subject_v2.txt", "XView": "cross-view_v2.txt"},
}
"""Protocol to split file."""
_COLUMNS = 2 * NUM_JOINTS * 3
_MOST_LABELLED = 4  # actions follow each other, or overlap a little; each is a sample of its own
_MAX_ACTIONS = 999  # of a video; their numbers have three digits in a sample's name
_CHUNK = 2  # videos: some seconds of work, and some megabytes of samples
_TEXT = b"0123456789+-.eEnaifNAIF \t\v\f"  # of numbers, and of white space in a line
_LINE_END = re.compile(rb"\r\n|\r|\n")
_LONGEST_LINE = 2**14  # bytes: a frame has some 3000
_LONGEST_SPLIT = 2**20  # characters: a split has some 20,000


class Action(NamedTuple):
    """A line of a label file: class from 1, first frame from 0, and the frame after the last."""

    line: int
    action: int
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class _Reader:
    """From a video's two files to its samples."""

    data_set: PkuDataSet
    frames: Files
    labels: Files

    def __call__(self, video: str) -> Results:
        try:
            view = re.fullmatch(_VIDEO[self.data_set], video)
            if view is None:
                shown = _SHOWN[self.data_set]
                raise Unreadable(video, f"no name of a video of {self.data_set}; allowed: like {shown}", suffix=SUFFIX)
            if video not in self.labels.places:
                raise Unreadable(video, "there is no label file of this name", suffix=SUFFIX)
            actions = parse_labels(self.labels(video), f"label/{video}")
            frames = parse_frames(self.frames(video), video)
            labelled = sum(max(0, min(action.end, len(frames)) - action.start) for action in actions)
            if labelled > _MOST_LABELLED * len(frames):
                allowed = f"at most {_MOST_LABELLED} times as many"
                reason = f"its labels cover {labelled} frames of a video of {len(frames)}; allowed: {allowed}"
                raise Unreadable(f"label/{video}", reason, suffix=SUFFIX)
        except Unreadable as problem:
            # With its traceback it would keep the whole text alive until it is written down.
            problem.__cause__ = problem.__context__ = None
            return [problem.with_traceback(None)]
        labels = NtuName(UNKNOWN, CAMERAS[view[1]], UNKNOWN, UNKNOWN, UNKNOWN)
        return [_sample(video, action, frames, labels._replace(action=action.action)) for action in actions]


def prepare_pku(
    data_set: PkuDataSet,
    raw: Sequence[Path],
    labels: Sequence[Path],
    splits: Path,
    out: Path,
    *,
    strict: bool = False,
    num_processes: int = 1,
    progress: Progress | None = None,
) -> Manifest:
    """Pack PKU-MMD, with its cross-subject and cross-view splits as the protocols XSub and XView.

    Samples are called `<video>-<line of the label file>` and stand in the order of these names under either protocol;
    the published order is that in which a file system lists the videos, which no two need to share. Subject, setup and
    replication are not in the files and unknown (0). What is zero throughout is rejected, as published.

    Args:
        data_set: phase I or II.
        raw: folders with the videos' text, searched in subfolders and `.zip` archives; or archives.
        labels: the same with the label files.
        splits: folder with the data set's split files.
        out: the packed store; must not exist, or hold the same content already.
        strict: raise at the first recording that cannot be used, instead of recording it.
        num_processes: how many work at once; 1 works in this process.
        progress: told how many videos are done, of how many.

    Raises:
        ValueError: a path or split file that cannot be used, or not one sample.
        Unreadable: with `strict`, the first video or action in the order of names that cannot be used.
        FileExistsError: `out` holds something else, or another process is at the same work.
    """
    training = {protocol: read_split(splits / name)[0] for protocol, name in SPLITS[data_set].items()}
    videos, annotations = find(raw, SUFFIX), find(labels, SUFFIX)
    names = list(videos.places)
    own = frozenset(names)
    packer = Packer(
        out,
        name=data_set,
        source=f"{len(names)} videos of PKU-MMD text, phase {'I' if data_set == 'pku1' else 'II'}",
        work=work_of(data_set, _CHUNK, strict, videos.identity(own), annotations.identity(own)),
    )
    chunks = []
    for some in cut(names, _CHUNK, videos.num_bytes()):
        labelled = {name: annotations.places[name] for name in some if name in annotations.places}
        frames = Files({name: videos.places[name] for name in some}, SUFFIX)
        chunks.append(Chunk(some, _Reader(data_set, frames, Files(labelled, SUFFIX))))
    without = sorted(annotations.places.keys() - own)
    return pack(
        chunks,
        packer,
        refused=(*videos.refused, *annotations.refused, *(_no_video(name) for name in without)),
        train=lambda samples: {protocol: _of(samples, chosen) for protocol, chosen in training.items()},
        strict=strict,
        num_processes=num_processes,
        progress=progress,
    )


def parse_frames(text: bytes, name: str) -> Float32[np.ndarray, "frame body=2 joint=25 3"]:
    """Read a video: metres, zeros for absent persons. Raises Unreadable naming the line of the first defect."""
    frames = array.array("f")
    for number, line in _lines(text, name):
        fields = line.split()
        if len(fields) != _COLUMNS:
            reason = f"a frame has {len(fields)} numbers; allowed: {_COLUMNS}"
            raise Unreadable(name, reason, number, SUFFIX)
        try:
            if line.translate(None, _TEXT):
                raise ValueError
            with np.errstate(over="ignore"):
                frame = np.array(fields, np.float64).astype(np.float32)
        except ValueError:
            raise Unreadable(name, "a frame holds what is no number", number, SUFFIX) from None
        if np.isinf(frame).any():
            raise Unreadable(name, "a coordinate is no finite 32-bit number, nor nan", number, SUFFIX)
        frames.frombytes(frame.tobytes())
    if not frames:
        raise Unreadable(name, "the file is empty", 1, SUFFIX)
    return np.frombuffer(frames, np.float32).reshape(-1, 2, NUM_JOINTS, 3)


def parse_labels(text: bytes, name: str) -> list[Action]:
    """Read a label file, one line too. Raises Unreadable naming the line of the first defect."""
    actions: list[Action] = []
    for number, line in _lines(text, name):
        fields = [field.strip() for field in line.split(b",")]
        if len(fields) != 4 or not all(field.isdigit() and len(field) <= 9 for field in fields[:3]):
            reason = "a label is class, first frame, frame after the last, confidence; the first three whole numbers"
            raise Unreadable(name, reason, number, SUFFIX)
        action, start, end = map(int, fields[:3])
        if not 1 <= action <= NUM_CLASSES:
            raise Unreadable(name, f"the class is {action}; allowed: 1 to {NUM_CLASSES}", number, SUFFIX)
        if len(actions) == _MAX_ACTIONS:
            reason = f"it has {_MAX_ACTIONS + 1} labels or more; allowed: 1 to {_MAX_ACTIONS}"
            raise Unreadable(name, reason, number, SUFFIX)
        actions.append(Action(number, action, start, end))
    if not actions:
        raise Unreadable(name, f"it has 0 labels; allowed: 1 to {_MAX_ACTIONS}", 1, SUFFIX)
    return actions


def read_split(path: Path) -> tuple[frozenset[str], frozenset[str]]:
    """The videos of a split file: line 2 names those to train on, line 4 those to validate on, separated by commas.

    As the published code does, whatever is not trained on is tested on; line 4 is returned for comparison.

    Raises:
        ValueError: there is no such file, or it has other lines or no training video.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            lines = file.read(_LONGEST_SPLIT).splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise ValueError(f"{path}: the data set's split file cannot be read ({problem})") from problem
    named = [frozenset(filter(None, map(str.strip, line.split(",")))) for line in (*lines, "", "", "", "")[1:4:2]]
    if not named[0]:
        raise ValueError(f"{path}: line 2 names no video; allowed: the training videos, separated by commas")
    return named[0], named[1]


def video_of(sample: str) -> str:
    """The video that a sample was cut from."""
    return sample.rpartition("-")[0]


def _lines(text: bytes, name: str) -> Iterator[tuple[int, bytes]]:
    """Number and content of every line up to the last one with content, one by one: a list of all may need a gigabyte.

    Raises:
        Unreadable: a line is longer than a frame can be.
    """
    content = text.rstrip()
    start, number = 0, 0
    while start < len(content):
        number += 1
        found = _LINE_END.search(content, start)
        end, following = found.span() if found else (len(content), len(content))
        if end - start > _LONGEST_LINE:
            reason = f"the line has {end - start} characters; allowed: at most {_LONGEST_LINE}"
            raise Unreadable(name, reason, number, SUFFIX)
        yield number, content[start:end]
        start = following


def _of(samples: Sequence[str], videos: Collection[str]) -> list[str]:
    return [sample for sample in samples if video_of(sample) in videos]


def _sample(
    video: str, action: Action, frames: Float32[np.ndarray, "frame body joint 3"], labels: NtuName
) -> Ready | Unreadable:
    """The frames of an action. The published code slices: what reaches beyond the last frame ends there."""
    whole = frames[action.start : action.end]
    name, sequence = f"label/{video}", whole[:MAX_FRAMES]
    if whole.sum(dtype=np.float64) == 0:
        return Unreadable(name, "its frames sum to 0, or it has none; left out as published", action.line, SUFFIX)
    if count_valid(sequence) == 0:
        return Unreadable(name, f"its first {MAX_FRAMES} frames all sum to 0", action.line, SUFFIX)
    return Ready(f"{video}-{action.line:03d}", labels, sequence)


def _no_video(name: str) -> Unreadable:
    return Unreadable(f"label/{name}", "there is no video of this name", suffix=SUFFIX)
