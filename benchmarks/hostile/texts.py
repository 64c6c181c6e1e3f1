"""Hostile `.skeleton` text, and hostile text and labels of PKU-MMD."""

# ruff: noqa: ARG005 - every way of being hostile is offered a generator, and many need none

from random import Random

from benchmarks.hostile.case import COUNTS, Case, Named, altered, altered_lines

LARGE = 30 * 2**20  # bytes: just below what is read at all
_JOINT_REST = b"252.8 255.1 -inf 683.8 0 0 nan 0 2"
_BODY_REST = b"0 1 1 1 1 0 0.010160 -4.1e-05 2"


def skeleton_text(random: Random, num_frames: int = 3, most_bodies: int = 2) -> bytes:
    """A good recording."""
    lines = [b"%d" % num_frames]
    for frame in range(num_frames):
        ids = random.sample((b"72057594037931101", b"7", b"12", b"a"), random.randint(frame == 0, most_bodies))
        lines.append(b"%d" % len(ids))
        for body in ids:
            lines += [body + b" " + _BODY_REST, b"25"]
            lines += [b" ".join((*_xyz(random), _JOINT_REST)) for _ in range(25)]
    return b"\n".join(lines) + b"\n"


def pku_text(random: Random, num_frames: int = 12) -> bytes:
    """A good video of PKU-MMD."""
    return b"".join(b" ".join(_number(random) for _ in range(150)) + b"\n" for _ in range(num_frames))


def pku_labels(random: Random) -> bytes:
    """Good labels of a video."""
    lines = [(random.randint(1, 51), first, first + random.randint(1, 9), 1) for first in range(0, 40, 10)]
    return b"".join(b"%d,%d,%d,%d\n" % line for line in lines)


def _xyz(random: Random) -> tuple[bytes, bytes, bytes]:
    return _number(random), _number(random), _number(random)


def _number(random: Random) -> bytes:
    value = random.gauss(0, 1)
    spelling = random.randrange(40)
    if spelling == 0:
        return random.choice((b"nan", b"-.5", b"+1.e-1", b"0", b"-0", b"1e-50", b"3.4028235e38", b"00001.5", b"NaN"))
    return (b"%.7g" if spelling < 30 else b"%.17g") % value


def _with_line(text: bytes, line: int, content: bytes) -> bytes:
    lines = text.split(b"\n")
    lines[line] = content
    return b"\n".join(lines)


def _cut(random: Random) -> bytes:
    text = skeleton_text(random)
    return text[: random.randrange(len(text))]


def _blown_up(random: Random) -> bytes:
    """Every space is a thousand."""
    return skeleton_text(random, 2).replace(b" ", b" " * 1000)


SKELETONS: Named = {
    "a billion frames": lambda random: _with_line(skeleton_text(random), 0, b"1000000000"),
    "as many frames as there may be": lambda random: _with_line(skeleton_text(random), 0, b"1000000"),
    "a negative number of frames": lambda random: _with_line(skeleton_text(random), 0, b"-1"),
    "a negative number of bodies": lambda random: _with_line(skeleton_text(random), 1, b"-1"),
    "7 bodies": lambda random: _with_line(skeleton_text(random), 1, b"7"),
    "a billion bodies": lambda random: _with_line(skeleton_text(random), 1, b"1000000000"),
    "24 joints": lambda random: _with_line(skeleton_text(random), 3, b"24"),
    "a negative number of joints": lambda random: _with_line(skeleton_text(random), 3, b"-25"),
    "nan frames": lambda random: _with_line(skeleton_text(random), 0, b"nan"),
    "another count": lambda random: _with_line(skeleton_text(random), random.choice((0, 1, 3)), random.choice(COUNTS)),
    "no UTF-8": lambda random: skeleton_text(random).replace(b"0", b"\xff\xfe", 3),
    "UTF-16": lambda random: skeleton_text(random).decode().encode("utf-16"),
    "a BOM in the middle": lambda random: skeleton_text(random).replace(b"\n25\n", b"\n\xef\xbb\xbf25\n"),
    "NUL": lambda random: skeleton_text(random).replace(b" ", b"\0", 1),
    "CRLF": lambda random: skeleton_text(random).replace(b"\n", b"\r\n"),
    "CR alone": lambda random: skeleton_text(random).replace(b"\n", b"\r"),
    "cut anywhere": _cut,
    "empty": lambda random: random.choice((b"", b"\n", b" \r\n\t", b"\0")),
    "a number that is too large": lambda random: skeleton_text(random).replace(b" -", b" 1e39", 1),
    "a number of 100,000 digits": lambda random: skeleton_text(random).replace(b" -", b" " + b"1" * 100_000, 1),
    "a very long line": lambda random: _with_line(skeleton_text(random), 4, b"1 " * 200_000),
    "a line without an end": lambda random: b"1" * 500_000,
    "a thousand spaces each": _blown_up,
    "random bytes": lambda random: random.randbytes(random.randrange(2000)),
    "a body twice": lambda random: b"1\n2\n" + skeleton_text(random, 1, 1).split(b"\n", 2)[2] * 2,
}
LARGE_SKELETONS: Named = {
    "frames without bodies, megabytes of them": lambda random: b"%d\n" % (LARGE // 2) + b"0\n" * (LARGE // 2),
    "a good recording of megabytes, and a defect": lambda random: _repeated(random) + b"x",
    "a line of megabytes": lambda random: b"1\n1\n" + b"1 " * (LARGE // 2),
    "megabytes of spaces": lambda random: b"1" + b" " * LARGE + b"1",
    "megabytes of ends of lines": lambda random: b"1" + b"\n" * LARGE + b"1",
}


def _repeated(random: Random) -> bytes:
    frame = skeleton_text(random, 1, 1).split(b"\n", 1)[1]
    times = LARGE // len(frame)
    return b"%d\n" % times + frame * times


VIDEOS: Named = {
    "149 numbers": lambda random: pku_text(random).replace(b" ", b"", 1),
    "151 numbers": lambda random: pku_text(random).replace(b" ", b" 1 ", 1),
    "a line of a million numbers": lambda random: b"1 " * 1_000_000,
    "a vertical tab": lambda random: pku_text(random).replace(b" ", b"\v", 1),
    "infinity": lambda random: pku_text(random).replace(b"-", b"-inf ", 1),
    "CR alone": lambda random: pku_text(random).replace(b"\n", b"\r"),
    "NUL": lambda random: pku_text(random).replace(b" ", b"\0", 1),
    "no UTF-8": lambda random: pku_text(random).replace(b" ", b" \xff", 1),
    "empty": lambda random: random.choice((b"", b"\n", b"\0")),
    "random bytes": lambda random: random.randbytes(random.randrange(2000)),
}
LARGE_VIDEOS: Named = {
    "lines without numbers, megabytes of them": lambda random: b"1" + b"\n" * LARGE + b"1",
    "a line of megabytes": lambda random: b"1 " * (LARGE // 2),
}
LABELS: Named = {
    "class 0": lambda random: pku_labels(random) + b"0,1,2,1\n",
    "class 52": lambda random: pku_labels(random) + b"52,1,2,1\n",
    "a negative frame": lambda random: pku_labels(random) + b"1,-1,2,1\n",
    "a billion frames": lambda random: pku_labels(random) + b"1,0,1000000000,1\n",
    "1000 labels": lambda random: b"1,0,9,1\n" * 1000,
    "a line of a million commas": lambda random: b"," * 1_000_000,
    "digits of another script": lambda random: "١,٢,٣,1\n".encode(),
    "empty": lambda random: random.choice((b"", b"\n", b"\0")),
    "random bytes": lambda random: random.randbytes(random.randrange(200)),
}
LARGE_LABELS: Named = {
    "megabytes of labels": lambda random: b"1,0,9,1\n" * (LARGE // 8),
    "megabytes of ends of lines": lambda random: b"1,0,9,1" + b"\n" * LARGE + b"1,0,9,1",
}


def _drawn(random: Random, text: bytes) -> tuple[str, bytes]:
    match random.randrange(8):
        case 0:
            return "unchanged", text
        case 1 | 2 | 3:
            return "bytes", altered(random, text)
        case 4 | 5 | 6:
            return "lines", altered_lines(random, text)
        case _:
            return "lines and bytes", altered(random, altered_lines(random, text))


def draw_skeleton(random: Random) -> Case:
    """A good recording, one with any changes, or one of the named ones."""
    if random.randrange(4) == 0:
        name = random.choice(sorted(SKELETONS))
        return Case("skeleton", name, SKELETONS[name](random))
    text = skeleton_text(random, random.choice((1, 2, 3, 14)), random.choice((1, 2, 3)))
    return Case("skeleton", *_drawn(random, text))


def draw_pku(random: Random) -> Case:
    """The same of a video."""
    if random.randrange(4) == 0:
        name = random.choice(sorted(VIDEOS))
        return Case("pku", name, VIDEOS[name](random))
    return Case("pku", *_drawn(random, pku_text(random, random.choice((1, 3, 12)))))


def draw_labels(random: Random) -> Case:
    """The same of labels."""
    if random.randrange(4) == 0:
        name = random.choice(sorted(LABELS))
        return Case("labels", name, LABELS[name](random))
    return Case("labels", *_drawn(random, pku_labels(random)))
