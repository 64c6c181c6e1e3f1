"""Where programs print (a terminal as wide as it is; files and pipes wide enough for any table), and how they began."""

import shlex
import sys
from typing import TextIO

from rich.console import Console

_WIDTH = 140


def console(file: TextIO | None = None) -> Console:
    """A console on `file`; by default on what the standard output is whenever something is printed."""
    terminal = sys.stdout.isatty()
    return Console(file=file, soft_wrap=not terminal, width=None if terminal else _WIDTH)


def command() -> str:
    """The command that began this process, as it can be typed again."""
    return shlex.join(["python", *sys.orig_argv[1:]])
