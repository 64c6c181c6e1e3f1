"""The command that computes a sweep, or one of its points, again: read from its plan, ready for a shell."""

import shlex
from collections.abc import Mapping

from analysis.choice import spelled
from stars.sweep import AxisValue

_OPTIONS = {
    "protocol": "--protocol",
    "label_rule": "--label-rule",
    "recipe": "--recipe",
    "coordinates_missing": "--nan",
}


def command(sweep: str, context: Mapping[str, AxisValue], axes: Mapping[str, AxisValue | None]) -> str:
    """The command line of a sweep in a context, restricted to one point where axes are given.

    Real data are named by their data set: the folder that `python -m stars prepare` wrote is not recorded.
    """
    words = ["python", f"sweeps/{sweep}.py"]
    if "dataset" in context:
        words += ["--data", spelled(context["dataset"])]
    for name, option in _OPTIONS.items():
        if name in context:
            words += [option, spelled(context[name])]
    if "start" in context:
        # `kind fingerprint`: the option takes the latter.
        words += ["--start", spelled(context["start"]).rpartition(" ")[2]]
    if context.get("reseed_pretraining") is True:
        words.append("--reseed-pretraining")
    return shlex.join([*words, *_settings(axes)])


def settings(axes: Mapping[str, AxisValue | None]) -> str:
    """What restricts the command of a sweep to one point."""
    return shlex.join(_settings(axes))


def remarks(context: Mapping[str, AxisValue]) -> list[str]:
    """What the command cannot say, one sentence each."""
    found = []
    if "dataset" in context and context["dataset"] != "synthetic":
        content = f" whose content has the hash {context['data_content']}" if "data_content" in context else ""
        found.append(f"--data takes the folder of {spelled(context['dataset'])}{content}.")
    if context.get("protocol") in ("subjects", "list"):
        found.append("Who is tested stands in the value of the data: give the same subjects, or the same list.")
    return found


def _settings(axes: Mapping[str, AxisValue | None]) -> list[str]:
    return [word for name, v in axes.items() if v is not None for word in ("--set", f"{name}={spelled(v)}")]
