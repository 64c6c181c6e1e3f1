"""The parser of `.skeleton` text: what is grammatical is read exactly, what is not is refused with its line."""

import pickle

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings

from stars.data import skeleton
from stars.data.skeleton import Recording, Unreadable, parse
from tests.data.texts import BODY_REST, Frame, moving, read_line_by_line, recorded, text_of

COORDINATES = st.floats(width=32, allow_nan=True, allow_infinity=False)


@st.composite
def frames(draw: st.DrawFn) -> list[Frame]:
    """One to four frames of up to three bodies, at least one of them."""
    present = draw(
        st.lists(
            st.lists(st.sampled_from(["72057594037931101", "7", "12"]), unique=True), min_size=1, max_size=4
        ).filter(any)
    )
    special = draw(st.lists(COORDINATES, min_size=3, max_size=3))
    joints = np.random.default_rng(draw(st.integers(0, 99))).normal(size=(25, 3)).astype(np.float32)
    joints[draw(st.integers(0, 24))] = special
    return [{body_id: joints * np.float32(0.5**frame) for body_id in bodies} for frame, bodies in enumerate(present)]


def test_reads_a_body_that_vanishes_and_an_empty_frame() -> None:
    joints = moving(5)
    found = parse(text_of([{}, {"a": joints[0]}, {"b": joints[1]}, {"a": joints[2], "b": joints[3]}]), "x")
    assert (found.name, found.num_frames_in_file, found.num_frames, found.dropped.tolist()) == ("x", 4, 3, [0])
    assert [body.id for body in found.bodies] == ["a", "b"]
    assert [body.interval.tolist() for body in found.bodies] == [[0, 1], [1, 2]]
    np.testing.assert_array_equal(found.bodies[0].joints, joints[[0, 2]])
    np.testing.assert_array_equal(found.bodies[1].joints, joints[[1, 3]])


@given(frames())
@settings(deadline=None, max_examples=40)
def test_reads_back_what_was_written(written: list[Frame]) -> None:
    text = text_of(written)
    found = parse(text, "x")
    assert found.num_frames_in_file == len(written)
    assert found.dropped.tolist() == [number for number, frame in enumerate(written) if not frame]
    assert_same(found, text)


@given(frames(), st.sampled_from(["crlf", "open end", "blank end", "tabs", "wide", "bytes"]))
@settings(deadline=None, max_examples=40)
def test_white_space_does_not_matter(written: list[Frame], change: str) -> None:
    text = text_of(written)
    changes: dict[str, str | bytes] = {
        "crlf": text.replace("\n", "\r\n"),
        "open end": text.rstrip("\n"),
        "blank end": text + "\n \n",
        "tabs": text.replace(" ", "\t"),
        "wide": text.replace(" ", "   ").replace("\n", " \n"),
        "bytes": text.encode(),
    }
    assert_same(parse(changes[change], "x"), text)


def assert_same(found: Recording, text: str) -> None:
    expected = read_line_by_line(text)
    assert [body.id for body in found.bodies] == list(expected)
    for body, (joints, interval) in zip(found.bodies, expected.values(), strict=True):
        assert body.joints.dtype == np.float32
        np.testing.assert_array_equal(body.joints, joints)
        assert body.interval.tolist() == interval


@given(frames())
@settings(deadline=None, max_examples=30)
def test_the_fast_pass_reads_plain_text_itself(written: list[Frame]) -> None:
    text = text_of(written).encode()
    fast, strict = skeleton._fast(text), skeleton._strict(text.rstrip(), "x")
    assert fast is not None
    np.testing.assert_array_equal(fast.joints, strict.joints)
    assert (list(fast.ids), fast.num_bodies.tolist()) == (list(strict.ids), strict.num_bodies.tolist())


SMALL = text_of(recorded({"11": (0, moving(3)), "12": (1, moving(2))}, 3)).encode()
NUM_LINES = SMALL.count(b"\n")


def edit(lines: list[bytes], line: int, how: str, where: int, what: bytes) -> list[bytes]:
    """One change to one line."""
    old = lines[line]
    fields = old.split(b" ")
    place = where % len(fields)
    new = {
        "delete": [],
        "repeat": [old, old],
        "insert": [what, old],
        "replace": [what],
        "cut": [old[: where % (len(old) + 1)]],
        "less": [b" ".join(fields[:place] + fields[place + 1 :])],
        "more": [b" ".join([*fields[:place], what, *fields[place:]])],
        "other": [b" ".join([*fields[:place], what, *fields[place + 1 :]])],
        "swap": [old[: where % len(old)] + what + old[where % len(old) + 1 :]],
    }[how]
    return lines[:line] + new + lines[line + 1 :]


EDITS = st.sampled_from(["delete", "repeat", "insert", "replace", "cut", "less", "more", "other", "swap"])
PIECES = st.one_of(
    st.sampled_from([b"", b" ", b"-1", b"nan", b"1e39", b"-inf", b"25", b"2", b"1_0", b"1.2.3", b"+", b"999999999999"]),
    st.binary(max_size=3),
)


@given(st.integers(0, NUM_LINES - 1), EDITS, st.integers(0, 200), PIECES)
@example(0, "other", 0, b"4")
@example(2, "other", 0, b"12")
@settings(deadline=None, max_examples=300)
def test_a_damaged_line_is_refused_with_a_line_or_reads_as_text(line: int, how: str, where: int, what: bytes) -> None:
    damaged = b"\n".join(edit(SMALL.splitlines(), line, how, where, what)) + b"\n"
    problem, found = outcome(damaged)
    if problem:
        assert problem.line is not None
        assert 1 <= problem.line <= damaged.count(b"\n") + 1
        assert str(problem) == f"x.skeleton, line {problem.line}: {problem.reason}"
    if found:
        # Whichever pass read it, the other one agrees.
        strict = skeleton._recording(skeleton._strict(damaged.replace(b"\r\n", b"\n").rstrip(b" \t\r\n"), "x"), "x")
        for body, other in zip(found.bodies, strict.bodies, strict=True):
            assert body.id == other.id
            np.testing.assert_array_equal(body.joints, other.joints)


def outcome(text: bytes) -> tuple[Unreadable | None, Recording | None]:
    try:
        return None, parse(text, "x")
    except Unreadable as problem:
        return problem, None


def changed(line: int, new: str) -> bytes:
    """`SMALL` with another text in one line, counted from 1."""
    lines = SMALL.decode().splitlines()
    return "\n".join([*lines[: line - 1], new, *lines[line:]]).encode()


def cut_to(num_lines: int) -> bytes:
    return b"\n".join(SMALL.splitlines()[:num_lines])


# SMALL: 1 number of frames, 2 number of bodies of frame 0, 3 body, 4 number of joints, 5 to 29 joints, 30 number of
# bodies of frame 1, …
@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (b"", 1, "empty"),
        (b" \r\n\n", 1, "empty"),
        (b"three\n0\n", 1, "number of frames is 'three'; allowed: a whole number from 1"),
        (b"0\n", 1, "number of frames is '0'"),
        (b"-3\n", 1, "number of frames is '-3'"),
        (b"2\n0\n0\n", 1, "none of the 2 frames has a body"),
        (b"9" * 5000, 1, "number of frames is '9999999999"),
        (b"\xff\xfe1\x00", 1, "number of frames"),
        (changed(1, "4"), NUM_LINES + 1, "the text ends where the number of bodies of frame 3"),
        (changed(1, "2"), 85, "text after the last of 2 frames"),
        (changed(2, "-1"), 2, "number of bodies of frame 0 is '-1'; allowed: a whole number from 0 to 6"),
        (changed(2, "7"), 2, "number of bodies of frame 0 is '7'"),
        (changed(2, "1 1"), 2, "has 2 fields; allowed: 1"),
        (changed(2, "2"), 30, "body 1 of frame 0 has 1 fields; allowed: 10"),
        (changed(2, "0"), 3, "number of bodies of frame 1 has 10 fields"),
        (changed(3, "11 0 1"), 3, "body 0 of frame 0 has 3 fields; allowed: 10"),
        (changed(3, f"11 {BODY_REST}".replace(" 1 ", " one ", 1)), 3, "contains 'one'"),
        (changed(4, "24"), 4, "number of joints of body 0 of frame 0 is '24'; allowed: 25"),
        (changed(5, "1 2 3 4 5 6 7 8 9 10 11"), 5, "joint 0 of body 0 of frame 0 has 11 fields; allowed: 12"),
        (changed(5, "1 2 3 4 5 6 7 8 9 10 11 12 13"), 5, "has 13 fields"),
        (changed(6, "1 x 3 4 5 6 7 8 9 10 11 12"), 6, "joint 1 of body 0 of frame 0 contains 'x'; allowed: numbers"),
        (changed(6, "1 2-1 3 4 5 6 7 8 9 10 11 12"), 6, "is at '1' '2-1' '3'; allowed: three numbers"),
        (changed(6, "1 1e39 3 4 5 6 7 8 9 10 11 12"), 6, "is at [1.0, 1e+39, 3.0]; allowed: finite"),
        (changed(6, "1 -inf 3 4 5 6 7 8 9 10 11 12"), 6, "allowed: finite"),
        (changed(7, ""), 7, "has 0 fields"),
        (changed(58, f"11 {BODY_REST}"), 58, "body '11' is twice in one frame"),
        (SMALL + b"\nmore\n", NUM_LINES + 2, "text after the last of 3 frames"),
        (cut_to(17), 18, "the text ends where joint 13 of body 0 of frame 0 should be"),
        (cut_to(17) + b"\n1.0 2.", 18, "has 2 fields"),
    ],
)
def test_the_first_defect_is_named(text: bytes, line: int, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        parse(text, "S001C001P001R001A001")
    assert caught.value.line == line
    assert reason in caught.value.reason
    assert str(caught.value).startswith(f"S001C001P001R001A001.skeleton, line {line}: ")


def test_nan_stays_and_other_spellings_of_numbers_are_read() -> None:
    found = parse(changed(5, "nan -.5 +1.e-1 4 5 6 7 8 9 10 11 12"), "x")
    np.testing.assert_array_equal(found.bodies[0].joints[0, 0], np.array([np.nan, -0.5, 0.1], np.float32))


def test_the_exception_survives_a_process() -> None:
    problem = pickle.loads(pickle.dumps(Unreadable("x", "why", 3)))
    assert (problem.name, problem.line, problem.reason) == ("x", 3, "why")
    assert str(Unreadable("x", "why")) == "x.skeleton: why"
