"""The command line that every sweep shares."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from stars.data.dataset import LabelRule
from stars.data.protocols import Protocol
from stars.space import described
from stars.sweep import AxisValue, Sweep


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a sweep runs on, and how."""

    data: str = "synthetic"
    """`synthetic` (embedded, made on first use) or a folder written by `python -m stars prepare`."""
    target: Annotated[str | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Where a sweep takes its encoders to (transfer, few_shot): a folder written by `python -m stars prepare`. Default
    on the embedded data: other people (transfer); the other half of the actions (few_shot, on any data)."""
    protocol: Protocol = "XSub"
    """How training and test are split: by subject, by camera, by setup, by the subjects of --test-subjects, by the list
    of --train-list."""
    test_subjects: Annotated[str | None, tyro.conf.arg(metavar="N,N-N,…", help_behavior_hint="")] = None
    """With --protocol subjects: whom to test on; everybody else is trained on."""
    train_list: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """With --protocol list: names of the training samples, one a line; all others are tested on."""
    actions: Annotated[str | None, tyro.conf.arg(metavar="N,N-N,…", help_behavior_hint="")] = None
    """The only actions to train and test on, as 61-120 for the novel classes of NTU-120. Default: all."""
    label_rule: LabelRule = "action"
    """What a class is: the action, or the action in a setup or a replication."""
    nan: Literal["refuse", "zero"] = "refuse"
    """What becomes of missing (NaN) coordinates: refuse such data, or read them as zero."""
    recipe: Literal["auto", "paper", "published", "small", "rehearsal"] = "auto"
    """Base values: the paper's text, the released code, or small; auto is small below 5,000 training sequences.
    rehearsal takes every step of small in a few epochs, for numbers that mean nothing."""
    store: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None
    """Where everything is kept. Default: $STARS_STORE, else ~/.stars/store."""
    start: Annotated[str | None, tyro.conf.arg(metavar="NAME|FINGERPRINT", help_behavior_hint="")] = None
    """Begin with this encoder of the store in place of stage 1: one imported with `python -m stars import-checkpoint`,
    or any that a stage left."""
    seeds: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Number of seeds, 0 to N-1. Default: the sweep's own."""
    reseed_pretraining: bool = False
    """Let a seed reseed stage 1 too. Default: one stage 1 for all seeds."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="AXIS=VALUE,VALUE,…", help_behavior_hint="")] = ()
    """Other values on an axis; may be given several times, for several axes."""
    plan: bool = False
    """Print what would run, and stop."""
    search: Annotated[Literal["optuna"] | None, tyro.conf.arg(metavar="optuna", help_behavior_hint="")] = None
    """Search the sweep's ranges instead of computing its grid: validation subjects choose, test is measured once."""
    trials: int = 50
    """Suggestions that a search tries in all, earlier ones of the same search included."""
    workers: int = 1
    """Workers of every TorchTrainer; they share a batch and change no number."""
    cpus_per_trial: Annotated[float | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Processors that a trial reserves, over all its workers; each computes with that many threads. Default: one a
    worker."""
    gpus_per_trial: Annotated[float | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """GPUs that a trial reserves, over all its workers; with one worker also a fraction, so that several trials share
    a GPU. Default: one a worker where there are GPUs."""
    budget: Annotated[str | None, tyro.conf.arg(metavar="2h|20gpuh|50usd", help_behavior_hint="")] = None
    """What this run may cost, failed attempts and earlier drivers of the same plan included; when it is used up nothing
    more is started."""
    price: Annotated[float | None, tyro.conf.arg(metavar="USD", help_behavior_hint="")] = None
    """US dollars per GPU-hour. Default: $STARS_USD_PER_GPU_HOUR, which a cluster file may set."""
    track: Annotated[
        tuple[Literal["wandb", "mlflow"], ...], tyro.conf.arg(metavar="wandb|mlflow", help_behavior_hint="")
    ] = ()
    """Report to these trackers too; TensorBoard's files are always written, in the store."""
    trainer: Literal["auto", "tune", "ray"] = "auto"
    """Where stages are trained. ray: as TorchTrainers; tune: in the trial's own process; auto: stage 1 as a
    TorchTrainer, and stage 2 too on GPUs or with several workers."""
    retry: bool = False
    """Run again what has diverged or ran out of memory."""

    def changes(self, sweep: Sweep) -> dict[str, Sequence[AxisValue]]:
        """Values by axis, from `--set` and `--seeds`. Raises ValueError for text that is no such list."""
        found: dict[str, Sequence[AxisValue]] = {}
        for item in self.set:
            name, equals, values = item.partition("=")
            if not equals or not values:
                raise ValueError(f"--set is {item!r}; allowed: AXIS=VALUE,VALUE,…")
            if name in found:
                raise ValueError(f"--set gives {name} twice; allowed: once, as {name}=VALUE,VALUE,…")
            found[name] = [_read(name, text, sweep) for text in values.split(",")]
        if self.seeds is not None:
            if self.seeds < 1 or "seed" in found or "seed" not in sweep.axes:
                raise ValueError(f"--seeds is {self.seeds}; allowed: 1 or more, and not together with --set seed=…")
            found["seed"] = range(self.seeds)
        return found


def parse(sweep: Sweep, arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; exits with status 2 on an unknown or malformed option."""
    axes = "\n".join(f"  {name}: {', '.join(map(str, values))}" for name, values in sweep.axes.items())
    if sweep.ranges:
        ranges = "\n".join(f"  {name}: {described(allowed)}" for name, allowed in sweep.ranges.items())
        axes += f"\n\nRanges (--search optuna):\n{ranges}"
    description = (
        f"{sweep.title}\n\nReproduces {sweep.paper}. Runs what is missing, prints the table, and says where the "
        f"Parquet, the figure and the log are; typed again, it redoes nothing.\n\nAxes (change with --set):\n{axes}"
    )
    return read(description, f"python {Path(sys.argv[0]).parent.name}/{Path(sys.argv[0]).name}", arguments)


def read(description: str, program: str, arguments: Sequence[str] | None) -> Options:
    """Read the options of a command; exits with status 2 on an unknown or malformed one.

    Args:
        description: of the command, for its help.
        program: what it is called.
        arguments: what follows; None is the command line.
    """
    return tyro.cli(
        Options,
        prog=program,
        description=description,
        args=arguments,
        config=(tyro.conf.UseAppendAction, tyro.conf.FlagCreatePairsOff),
    )


def _read(name: str, text: str, sweep: Sweep) -> AxisValue:
    """A value of the axis's own type."""
    examples = sweep.examples(name)
    cls = type(next(iter(examples)))
    try:
        if cls is bool:
            return {"true": True, "false": False}[text.lower()]
        return cls(text)
    except (ValueError, KeyError):
        raise ValueError(f"--set {name} has {text!r}; allowed: values like {list(examples)[:3]}") from None
