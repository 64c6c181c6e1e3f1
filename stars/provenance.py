"""Which code, which libraries, which device: what every result records."""

import functools
import hashlib
import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path

import torch

_PACKAGE = Path(__file__).resolve().parent
_LIBRARIES = ("torch", "numpy", "pyarrow", "ray", "optuna", "scikit-learn")


@functools.cache
def code_version() -> str:
    """The commit (`+dirty` when files differ from it); where there is no repository, the hash of the sources."""
    git = ["git", "-C", str(_PACKAGE)]
    try:
        top = _git([*git, "rev-parse", "--show-toplevel"])
        commit = _git([*git, "rev-parse", "HEAD"])
        changed = _git([*git, "status", "--porcelain", "--untracked-files=no"])
    except (OSError, subprocess.CalledProcessError):
        return f"source {_source_hash()}"
    if _PACKAGE.parent != Path(top):
        return f"source {_source_hash()}"
    return commit + ("+dirty" if changed else "")


@functools.cache
def library_versions() -> str:
    """Versions of Python and of what computes, as JSON."""
    installed = {distribution.name.lower() for distribution in importlib.metadata.distributions()}
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES if name in installed}
    return json.dumps({"python": platform.python_version(), **versions}, sort_keys=True)


def device_name(device: torch.device) -> str:
    """The accelerator's name, or the processor architecture with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {platform.machine()}, {torch.get_num_threads()} threads"


def _git(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _source_hash() -> str:
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
