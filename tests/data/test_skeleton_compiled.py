"""The compiled reader of `.skeleton` text: exact, gives up on all that is unusual, looks nowhere beyond the text."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from stars.data import skeleton, skeleton_compiled
from stars.data.skeleton import Unreadable
from stars.data.skeleton_compiled import PADDING, SMALLEST_BODY, is_plain
from tests.data.texts import BODY_REST, moving, recorded, text_of

NUM_NUMBERS = 75
DIGITS = st.integers(0, 10**16).map(str)
PLAIN = st.builds("{}{}.{}".format, st.sampled_from(["", "-"]), st.integers(0, 9), DIGITS)
UNUSUAL = st.builds(
    "{}{}.{}{}".format, st.sampled_from(["", "-", "+"]), DIGITS, DIGITS, st.sampled_from(["", "e-7", "E+22"])
)
SPECIAL = st.sampled_from(["nan", "-nan", "NAN", "-0.0", "0.00000000000001", "9007199254740993", ".5", "-5.", "7"])


def one_body(numbers: list[str], rest: str = "1 2 3 4 5 6 7 8 9", end: str = "\n") -> bytes:
    """A text of one frame and one body with these coordinates."""
    joints = [" ".join([*numbers[first : first + 3], rest]) for first in range(0, NUM_NUMBERS, 3)]
    return end.join(["1", "1", f"72057594037931101 {BODY_REST}", "25", *joints, ""]).encode()


def fast(text: bytes) -> skeleton._Text:
    found = skeleton._fast(text)
    assert found is not None
    return found


@given(st.lists(st.one_of(PLAIN, UNUSUAL, SPECIAL), min_size=3, max_size=9))
@settings(deadline=None, max_examples=200)
def test_numbers_are_rounded_as_python_rounds_them(drawn: list[str]) -> None:
    numbers = (drawn * NUM_NUMBERS)[:NUM_NUMBERS]
    with np.errstate(over="ignore"):
        expected = np.array(list(map(float, numbers))).astype(np.float32)
    text = one_body(numbers)
    if np.isinf(expected).any():
        assert skeleton._fast(text) is None
    else:
        found = fast(text).joints.ravel()
        assert np.array_equal(np.isnan(found), np.isnan(expected))
        assert found[~np.isnan(found)].tobytes() == expected[~np.isnan(expected)].tobytes()


@pytest.mark.parametrize("decimals", range(1, 18))
def test_every_length_of_number_at_every_place_in_a_word(decimals: int) -> None:
    random = np.random.default_rng(decimals)
    numbers = [
        f"{'-' * (i % 2)}{random.integers(10)}.{''.join(map(str, random.integers(0, 10, decimals)))}" for i in range(75)
    ]
    expected = np.array(list(map(float, numbers))).astype(np.float32)
    for rest in ("1 2 3 4 5 6 7 8 9", "11 2 3 4 5 6 7 8 9", "1.5 2 3 4 5 6 7 -inf nan"):
        assert fast(one_body(numbers, rest)).joints.tobytes() == expected.tobytes()


@pytest.mark.parametrize("num_fields", [8, 10, 9 + 256, 9 + 2048])
def test_the_number_of_fields_is_counted(num_fields: int) -> None:
    numbers = ["0.5"] * NUM_NUMBERS
    assert skeleton._fast(one_body(numbers, " ".join(["1"] * 9))) is not None
    text = one_body(numbers, " ".join(["1"] * num_fields))
    assert skeleton._fast(text) is None
    with pytest.raises(Unreadable, match=f"has {3 + num_fields} fields; allowed: 12"):
        skeleton.parse(text, "x")


def test_both_line_ends_are_plain() -> None:
    text = text_of(recorded({"11": (0, moving(3)), "12": (1, moving(2))}, 3)).encode()
    unix = fast(text)
    for other in (text.replace(b"\n", b"\r\n"), text.replace(b"\n", b"\r\n", 7), text.rstrip() + b" \n\t\r\n"):
        found = fast(other)
        assert found.joints.tobytes() == unix.joints.tobytes()
        assert (list(found.ids), found.num_bodies.tolist()) == (list(unix.ids), unix.num_bodies.tolist())
    for other in (text.replace(b"\n", b"\r"), text.replace(b"\n", b"\n\n", 5), text.replace(b"25", b"25 ", 1)):
        assert skeleton._fast(other) is None


def test_every_character_is_allowed_or_not_as_the_strict_pass_has_it() -> None:
    for character in range(256):
        text = np.frombuffer(b"1" + bytes([character]) + b"1\n", np.uint8)
        allowed = bytes([character]) in [b" ", b"\n"] or not bytes([character]).translate(None, skeleton._OF_NUMBERS)
        assert is_plain(text) == allowed


def test_a_text_that_ends_anywhere_is_not_read() -> None:
    """Nor what lies behind it in memory: arrays have no room for a body that is not whole."""
    text = text_of(recorded({"11": (0, moving(2))}, 2)).encode().rstrip()
    assert skeleton._fast(text) is not None
    for length in range(len(text)):
        cut = skeleton._fast(text[:length])
        # Only the very last field may be shorter.
        assert cut is None or length > len(text) - 1


def test_the_smallest_body_is_the_smallest() -> None:
    body = one_body(["1"] * NUM_NUMBERS, "1 1 1 1 1 1 1 1 1").split(b"\n", 3)[3]
    assert len(b"1 1 1 1 1 1 1 1 1 1\n" + body) == SMALLEST_BODY
    assert len(fast(b"1\n1\n1 1 1 1 1 1 1 1 1 1\n" + body).ids) == 1
    assert PADDING % 8 == 0


def test_it_works_where_nothing_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "copied.py"
    source.write_bytes(Path(skeleton_compiled.__file__).read_bytes())
    (tmp_path / "__pycache__").touch()
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location("copied", source)
    assert spec is not None
    assert spec.loader is not None
    copied = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copied)
    assert copied.is_plain(np.frombuffer(b"1 2\n3\n", np.uint8))
    assert type(copied.read._cache) is not type(skeleton_compiled.read._cache)  # type: ignore[attr-defined]


def test_commands_that_read_no_text_do_not_load_the_compiler() -> None:
    program = "import sys, stars.__main__, stars.data.prepare; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
