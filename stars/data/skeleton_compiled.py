"""The one-pass reader of plain `.skeleton` text, compiled by Numba.

It reads what is written without surprises, and gives up on everything else without saying why: who calls it then reads
line by line (stars.data.skeleton). The first call ever compiles, two or three seconds, and keeps the result beside this
file or, where that cannot be written, in the user's cache. Other processes need half a second to import Numba and to
load it, and 120 MB.

The text is looked at byte by byte, and in blocks of 64 bytes: a bit for each of them, the first the lowest, says
whether it is the one that is sought. Where a block or a word is taken is an address; what is read beyond the text is
its padding.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])
Word = np.uint64
Whole = np.int64
Characters = npt.NDArray[np.uint8]
Index = npt.NDArray[Whole]
Coordinates = npt.NDArray[np.float32]

PADDING = 128
"""Line ends that must follow the text: as far as anything looks beyond it."""
UNREAD = np.float32(np.inf)
"""Stands for a number that is left to the caller."""
SMALLEST_BODY = 623
"""Bytes of a body at least: 10 fields, the number of joints, 25 lines of 12 fields, one character and one end each."""

_BODY_SPACES = 9  # in a line of 10 fields
_JOINT_SPACES = 11  # in a line of 12
_MAX_DIGITS = 15  # of a number: the whole number that they make, and the power of ten below it, are exact doubles
_WHOLE_POWERS = 10 ** np.arange(_MAX_DIGITS + 1)
_POWERS = _WHOLE_POWERS.astype(np.float64)

_POINT, _MINUS, _SPACE, _LINE_END, _RETURN, _ZERO = b".- \n\r0"
_BLOCK = 64
# Unsigned, because Numba asks of every signed index whether it counts from the end.
_at = Word
_ONE = Word(1)
_ZEROS = Word(int.from_bytes(b"0" * 8))
_MARKS = Word(0x8080808080808080)
_TO_MARK_ABOVE_NINE = Word(0x7676767676767676)


def _compiled(function: Function, *, cache: bool = False) -> Function:
    """Compile into what calls it. Divisions, never by zero, are not checked."""
    return cast(Function, njit(error_model="numpy", cache=cache)(function))


def _kept(function: Function) -> Function:
    """Compile at the first call and keep the result for other processes, if there is a place where it can be kept."""
    try:
        return _compiled(function, cache=True)
    except RuntimeError:  # neither the folder of this file nor the user's cache can be written
        return _compiled(function)


@_compiled
def is_plain(text: Characters) -> bool:
    """Whether there are only characters of numbers, and one space or line end (LF or CRLF) after each of them.

    The last character is not looked at. Without a branch in the loop, it runs on 32 bytes at a time or more.
    """
    strange = False
    for place in range(len(text) - 1):
        this, following = text[place], text[place + 1]
        small = this | np.uint8(32)
        digit = (this >= 43) & (this <= 57) & (this != 44) & (this != 47)  # 0 to 9 + - .
        letter = (small == 97) | (small == 101) | (small == 102) | (small == 105) | (small == 110)  # a e f i n
        end = ((this == 32) | (this == 10)) & (following > 32)
        strange |= not (digit | letter | end | ((this == 13) & (following == 10)))
    return not strange


Generate = Callable[[Any, ir.IRBuilder, Any, Any], ir.Instruction]


def _instruction(returned: types.Type, generate: Generate) -> Any:
    """A function of one word that is one instruction or two, which Numba does not offer itself."""

    def of_word(_: Any, _word: Any) -> tuple[Any, Generate]:
        return returned(types.uint64), generate

    return intrinsic(of_word)


def _is_in_block(byte: int) -> Callable[[Word], Word]:
    """Of the 64 bytes at an address, which ones are this one."""

    def generate(_: Any, builder: ir.IRBuilder, _signature: Any, operands: Any) -> ir.Instruction:
        block = ir.VectorType(ir.IntType(8), _BLOCK)
        found = builder.load(builder.inttoptr(operands[0], block.as_pointer()), align=1)
        is_equal = builder.icmp_unsigned("==", found, ir.Constant(block, [byte] * _BLOCK))
        return builder.bitcast(is_equal, ir.IntType(64))

    return cast(Callable[[Word], Word], _instruction(types.uint64, generate))


_spaces = _is_in_block(_SPACE)
_line_ends = _is_in_block(_LINE_END)
_num_trailing_zeros: Callable[[Word], Whole] = _instruction(
    types.int64, lambda _, builder, __, operands: builder.cttz(operands[0], ir.Constant(ir.IntType(1), 0))
)
"""Zeros below the lowest bit that is set, 64 if none is."""
_num_bits: Callable[[Word], Whole] = _instruction(
    types.int64, lambda _, builder, __, operands: builder.ctpop(operands[0])
)
"""Bits that are set."""
_eight_bytes: Callable[[Word], Word] = _instruction(
    types.uint64,
    lambda _, builder, __, operands: builder.load(builder.inttoptr(operands[0], ir.IntType(64).as_pointer()), align=1),
)
"""The word at an address."""


@_compiled
def _eight_digits(word: Word) -> Whole:
    """The number whose eight digits, from 0 to 9, are the bytes, first the most significant: pairs, then quadruples."""
    pairs = word * Word(10) + (word >> Word(8))
    every_second = Word(0x000000FF000000FF)
    high = (pairs & every_second) * Word(100 + (1_000_000 << 32))
    low = ((pairs >> Word(16)) & every_second) * Word(1 + (10_000 << 32))
    return Whole((high + low) >> Word(32))


@_compiled
def _count(text: Characters, place: Whole) -> tuple[Whole, Whole]:
    """A line that is one whole number of at most nine digits, and where the next one begins; -1 if it is not."""
    number, first = Whole(0), place
    while _ZERO <= text[place] <= _ZERO + 9 and place - first < 9:
        number = 10 * number + Whole(text[place]) - _ZERO
        place += 1
    if place == first:
        return Whole(-1), place
    place += Whole(text[place] == _RETURN)
    return (number if text[place] == _LINE_END else Whole(-1)), place + 1


@_compiled
def _body_line(text: Characters, place: Whole) -> tuple[Whole, Whole]:
    """Where the id ends in a line of 10 fields that begins here, and where the next line begins; -1 if it is not."""
    id_end, num_spaces = Whole(-1), 0
    while text[place] != _LINE_END:
        if text[place] == _SPACE:
            num_spaces += 1
            if num_spaces == 1:
                id_end = place
        place += 1
    return (id_end if num_spaces == _BODY_SPACES else Whole(-1)), place + 1


@_compiled
def _num_digits(word: Word) -> Whole:
    """How many bytes are digits before the first that is not."""
    digits = word ^ _ZEROS
    return _num_trailing_zeros(((digits + _TO_MARK_ABOVE_NINE) | digits) & _MARKS) >> 3


@_compiled
def _joint_lines(
    text: Characters, place: Whole, joints: Coordinates, unread: Index, num_unread: Whole
) -> tuple[Whole, Whole]:
    """Read the lines of a body, one for each of the joints, that begin here.

    Returns:
        Where the next line begins, -1 if they are not what was expected; and how many numbers are unread by now.
    """
    address = Word(text.ctypes.data)
    for joint in range(len(joints)):
        # Where all three numbers end is known before one is read: the processor reads them at the same time.
        spaces, ends = _spaces(address + _at(place)), _line_ends(address + _at(place))
        first, sought = place, spaces
        for axis in range(3):
            end, is_found = place + _num_trailing_zeros(sought), sought != 0
            sought &= sought - _ONE
            digit = first + Whole(text[_at(first)] == _MINUS)
            decimal, num_decimals = digit + 2, end - digit - 2
            number = Whole(text[_at(digit)]) - _ZERO
            is_exact = is_found & (number >= 0) & (number <= 9) & (text[_at(digit + 1)] == _POINT)
            if is_exact & (num_decimals >= 1) & (num_decimals < _MAX_DIGITS):
                word = _eight_bytes(address + _at(decimal))
                in_word = num_decimals if num_decimals < 8 else Whole(8)
                is_exact = _num_digits(word) >= in_word
                number = number * _WHOLE_POWERS[_at(in_word)] + _eight_digits(
                    (word ^ _ZEROS) << _at((8 - in_word) << 3)
                )
                for further in range(decimal + 8, end):
                    is_exact &= (text[_at(further)] >= _ZERO) & (text[_at(further)] <= _ZERO + 9)
                    number = 10 * number + Whole(text[_at(further)]) - _ZERO
                magnitude = np.float64(number) / _POWERS[_at(num_decimals)]
                joints[joint, axis] = -magnitude if digit > first else magnitude
            else:
                is_exact = False
            if not is_exact:
                end = first
                while text[_at(end)] > _SPACE:
                    end += 1
                if text[_at(end)] != _SPACE:
                    return Whole(-1), num_unread
                unread[num_unread], joints[joint, axis] = first, UNREAD
                num_unread += 1
            first = end + 1
        # Of the other fields only the number counts.
        num_spaces = Whole(0)
        while ends == 0:
            num_spaces += _num_bits(spaces)
            place += _BLOCK
            spaces, ends = _spaces(address + _at(place)), _line_ends(address + _at(place))
        num_spaces += _num_bits(spaces & ~ends & (ends - _ONE))
        if num_spaces != _JOINT_SPACES:
            return Whole(-1), num_unread
        place += _num_trailing_zeros(ends) + 1
    return place, num_unread


@_kept
def read(  # noqa: PLR0917
    text: Characters,
    max_bodies: int,
    num_bodies: Index,
    ids: Index,
    joints: Coordinates,
    unread: Index,
) -> tuple[Whole, Whole]:
    """Read a whole text into arrays.

    Args:
        text: without white space at either end, and then `PADDING` line ends.
        max_bodies: of a frame, at most.
        num_bodies: of every frame; its length is the number of frames that the first line must announce.
        ids: where the id of every body of every frame begins and ends, `(appearance, 2)`. Room for one appearance in
            `SMALLEST_BODY` bytes.
        joints: x, y, z of the same, `(appearance, joint, 3)`; `UNREAD` where a number is left to the caller.
        unread: where these numbers begin, in the order of the text; they end at the next space. Room for all.

    Returns:
        How many appearances were read, -1 to give up; and how many numbers were left unread.
    """
    end = len(text) - PADDING
    num_frames, place = _count(text, Whole(0))
    num_appearances, num_unread = Whole(0), Whole(0)
    if num_frames != len(num_bodies) or not is_plain(text[: end + 1]):
        return Whole(-1), num_unread
    for frame in range(num_frames):
        num_bodies[frame], place = _count(text, place)
        if not 0 <= num_bodies[frame] <= max_bodies:
            return Whole(-1), num_unread
        for _ in range(num_bodies[frame]):
            ids[num_appearances, 0] = place
            ids[num_appearances, 1], place = _body_line(text, place)
            num_joints, place = _count(text, place)
            if ids[num_appearances, 1] < 0 or num_joints != joints.shape[1]:
                return Whole(-1), num_unread
            place, num_unread = _joint_lines(text, place, joints[num_appearances], unread, num_unread)
            if place < 0:
                return Whole(-1), num_unread
            num_appearances += 1
    return (num_appearances if place > end else Whole(-1)), num_unread
