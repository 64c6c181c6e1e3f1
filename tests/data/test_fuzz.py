"""Hostile input of every kind is read as a slow reader reads it, or refused; a hundred thousand are a benchmark."""

import time
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from benchmarks.hostile import judge as judging
from benchmarks.hostile.case import Case, Kind
from benchmarks.hostile.judge import Violation, judge
from benchmarks.hostile.kinds import LARGE, NAMED, draw, named
from benchmarks.hostile.pickles import CANARY
from stars.data.skeleton import Unreadable, parse

SEED = 11
NAMES = [(kind, name) for kind, ways in NAMED.items() for name in ways]
QUICK_LARGE: list[tuple[Kind, str, str]] = [
    ("zip", "members without number", "refused"),
    ("pku", "a line of megabytes", "refused"),
    ("labels", "megabytes of labels", "refused"),
    ("folder", "text with 30 megabytes of ends of lines", "read"),  # the other files are
    ("folder", "text with 30 megabytes of commas", "read"),
]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the working directory too."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("start", range(0, 2000, 500))
def test_drawn_inputs_keep_every_promise(empty: Path, start: int) -> None:
    outcomes = {judge(draw(SEED, number), empty) for number in range(start, start + 500)}
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_hostile_inputs_by_name_keep_every_promise(empty: Path, kind: Kind, name: str) -> None:
    judge(named(kind, name), empty)


@pytest.mark.parametrize(("kind", "name", "outcome"), QUICK_LARGE)
def test_large_inputs_keep_every_promise(empty: Path, kind: Kind, name: str, outcome: str) -> None:
    assert name in LARGE[kind]
    assert judge(named(kind, name), empty) == outcome


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a billion frames", "number of frames is '1000000000'; allowed: a whole number from 1 to"),
        ("as many frames as there may be", "the text ends where the number of bodies of frame 3 should be"),
        ("a negative number of frames", "number of frames is '-1'"),
        ("a negative number of bodies", "number of bodies of frame 0 is '-1'"),
        ("7 bodies", "number of bodies of frame 0 is '7'; allowed: a whole number from 0 to 6"),
        ("a billion bodies", "number of bodies of frame 0 is '1000000000'"),
        ("24 joints", "is '24'; allowed: 25"),
        ("a negative number of joints", "is '-25'; allowed: 25"),
        ("nan frames", "number of frames is 'nan'"),
        ("a body twice", "is twice in one frame"),
    ],
)
def test_the_refusal_says_what_is_wrong(name: str, reason: str) -> None:
    content = named("skeleton", name).content
    assert isinstance(content, bytes)
    with pytest.raises(Unreadable, match=r"^x.skeleton, line \d+: ") as caught:
        parse(content, "x")
    assert reason in caught.value.reason


COUNTS = st.one_of(st.sampled_from(["1", "2", "3", "0", "25", "24", "7", "-1", "nan", "1000000000", "", "2 2", "+1"]))
NUMBERS = st.one_of(
    st.floats(width=32, allow_infinity=False).map(repr),
    st.sampled_from(["-.5", "+1.e-1", "1e39", "-inf", "1_0", "1.2.3", "e", "١", "3.4028235677973366e38", "0x1p3"]),
)
SPACES = st.sampled_from([" ", "  ", "\t", " \t "])
ENDS = st.sampled_from(["\n", "\r\n", " \n", "\n\n", "\r", "\x0b\n"])


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """Text that nearly follows the grammar: mostly right counts, spellings of all sorts, any white space."""
    space, end = draw(SPACES), draw(st.one_of(st.just("\n"), ENDS))
    right = st.integers(0, 9).map(bool)
    frames = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    lines = [str(len(frames)) if draw(right) else draw(COUNTS)]
    for num_bodies in frames:
        lines.append(str(num_bodies) if draw(right) else draw(COUNTS))
        for body in range(num_bodies):
            lines.append(space.join([draw(st.sampled_from([str(body), "é", "7"])), *("0" for _ in range(9))]))
            lines.append("25" if draw(right) else draw(COUNTS))
            joints = [[repr(0.1 * joint + 0.01 * axis) for axis in range(12)] for joint in range(25)]
            for _ in range(draw(st.integers(0, 2))):
                joints[draw(st.integers(0, 24))][draw(st.integers(0, 11))] = draw(NUMBERS)
            lines += [space.join(joint) for joint in joints]
    return (end.join(lines) + draw(st.sampled_from(["", "\n", "\nx", "\n \n\n"]))).encode()


@pytest.fixture(scope="module")
def one_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder for all examples."""
    return tmp_path_factory.mktemp("grammar")


@given(texts())
@settings(deadline=None, max_examples=150)
def test_text_of_the_grammar_is_read_as_the_slow_reader_does(one_folder: Path, text: bytes) -> None:
    judge(Case("skeleton", "by grammar", text), one_folder)


@given(st.binary(max_size=400))
@settings(deadline=None, max_examples=100)
def test_any_bytes_are_refused(one_folder: Path, content: bytes) -> None:
    assert judge(Case("skeleton", "bytes", content), one_folder) == "refused"


def busy(*_: object) -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("does", "message"),
    [
        (lambda *_: {}["absent"], "KeyError"),
        (lambda *_: Path(CANARY).touch(), "it was executed"),
        (lambda *_: Path("left").touch(), "it left"),
        (busy, "more than 0.2 seconds"),
        (lambda *_: time.sleep(30), "more than 0.2 seconds"),
    ],
    ids=["another exception", "execution", "leaving something", "never ending", "waiting"],
)
def test_the_judge_notices(empty: Path, monkeypatch: pytest.MonkeyPatch, does: object, message: str) -> None:
    monkeypatch.setitem(judging._JUDGES, "labels", does)
    with pytest.raises(Violation, match=message):
        judge(Case("labels", "any", b""), empty, seconds=0.2)


def test_the_judge_compares_with_the_slow_reader(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "parse_labels", lambda text, name: [])
    with pytest.raises(Violation, match="the slow reader reads something else"):
        judge(Case("labels", "any", b"1,2,3,1\n"), empty)
