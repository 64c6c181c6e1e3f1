"""Pictures of skeletons and of data sets: a strip of stick figures, an animation, the counts of a store.

`poses` and `summary.summarize` decide what is shown and are pure; the others only put it on paper. Seen from the
camera: x to the right, y upwards (or downwards, where it grows towards the feet, as it does in pictures), both at the
same scale, z left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32
from matplotlib.animation import PillowWriter
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure

from stars.data.layouts import NO_PARENT, Layout, layout
from stars.data.packed import UNKNOWN, Packed
from stars.data.summary import Summary

# Okabe and Ito's blue and vermilion: apart for every kind of colour vision.
_COLOURS = ("#0072B2", "#D55E00")
_GREY = "0.35"
_MARGIN = 0.08  # of the larger extent, around everybody
_STRIP_HEIGHT, _WIDEST_STRIP = 3.0, 16.0  # inches
_FRAMES_PER_SECOND = 30  # of the sensor
_GIF_STEP = 2  # every second frame: a GIF counts hundredths of a second, and 15 a second look smooth
_FIGURES = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Poses:
    """The frames of a sequence that a picture shows.

    Attributes:
        title: name of the sample and what is known of it.
        frames: 0-based.
        points: x and y of every joint.
        there: whether the body is in the frame.
        bones: pairs of joints, child and parent.
        low: smallest x and y of the picture.
        high: largest x and y.
        downwards: whether y grows towards the feet.
    """

    title: str
    frames: tuple[int, ...]
    points: Float32[np.ndarray, "frame body joint 2"]
    there: Bool[np.ndarray, "frame body"]
    bones: tuple[tuple[int, int], ...]
    low: tuple[float, float]
    high: tuple[float, float]
    downwards: bool


def poses(packed: Packed, sample: str, frames: Sequence[int] | None = None) -> Poses:
    """What a picture of a sample shows.

    Args:
        packed: the store.
        sample: its name.
        frames: 0-based; by default eight, evenly spaced from the first to the last.

    Raises:
        ValueError: no such sample, no such frame, an unknown joint layout, or nothing but NaN in these frames.
    """
    row = _row(packed, sample)
    sequence = packed.sample(row)
    last = len(sequence) - 1
    chosen = np.unique(np.linspace(0, last, _FIGURES).round().astype(int)).tolist() if frames is None else list(frames)
    if not chosen or not all(0 <= frame <= last for frame in chosen):
        raise ValueError(f"frames are {chosen}; allowed: one or more from 0 to {last}")
    shown = sequence[chosen]
    there = (shown != 0).any(axis=(2, 3))
    points = shown[..., :2]
    seen = points[there].reshape(-1, 2)
    seen = seen[~np.isnan(seen).any(axis=1)]
    if len(seen) == 0:
        raise ValueError(f"sample {sample!r} has no joint to draw in the frames {chosen}")
    low, high = seen.min(axis=0), seen.max(axis=0)
    margin = max(float((high - low).max()) * _MARGIN, 1e-3)
    joint_layout = layout(packed.manifest.joint_layout)
    parents = joint_layout.parents
    return Poses(
        title=_title(packed, row, sample),
        frames=tuple(chosen),
        points=points,
        there=there,
        bones=tuple((joint, parent) for joint, parent in enumerate(parents) if parent != NO_PARENT),
        low=(float(low[0]) - margin, float(low[1]) - margin),
        high=(float(high[0]) + margin, float(high[1]) + margin),
        downwards=_grows_downwards(joint_layout, points[there]),
    )


def _grows_downwards(joint_layout: Layout, bodies: Float32[np.ndarray, "body joint 2"]) -> bool:
    """Whether the shoulders mostly have a smaller y than the ankles: all layouts name both."""
    heights = []
    for part in ("_shoulder", "_ankle"):
        joints = [number for number, name in enumerate(joint_layout.joints) if name.endswith(part)]
        y = bodies[:, joints, 1]
        heights.append(y[~np.isnan(y)])
    shoulders, ankles = heights
    return len(shoulders) > 0 and len(ankles) > 0 and bool(np.median(shoulders) < np.median(ankles))


def draw_strip(shown: Poses, out: Path) -> None:
    """Stick figures side by side, a frame each, as PNG."""
    width, height = (high - low for low, high in zip(shown.low, shown.high, strict=True))
    inches = min(_STRIP_HEIGHT * width / height * len(shown.frames) + 0.8, _WIDEST_STRIP)
    inches = max(inches, 4.0)
    figure = Figure(figsize=(inches, min(_STRIP_HEIGHT, (inches - 0.8) / len(shown.frames) * height / width) + 0.8))
    axes = figure.subplots(1, len(shown.frames), sharex=True, sharey=True, squeeze=False, gridspec_kw={"wspace": 0.05})
    for number, panel in enumerate(axes[0]):
        _prepare(panel, shown)
        panel.set_title(f"frame {shown.frames[number]}", fontsize=8, color=_GREY)
        for body in range(shown.points.shape[1]):
            _move(*_figure(panel, body), shown, number, body)
        if number:
            panel.tick_params(left=False)
    figure.suptitle(shown.title, fontsize=10)
    _save(figure, out)


def draw_animation(shown: Poses, out: Path) -> None:
    """The frames one after the other, as GIF at the speed of the recording if every second frame is shown."""
    width, height = (high - low for low, high in zip(shown.low, shown.high, strict=True))
    scale = 4.0 / max(width, height)
    figure = Figure(figsize=(max(width * scale, 2.2) + 0.8, max(height * scale, 2.2) + 0.8))
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    _prepare(panel, shown)
    figure.suptitle(shown.title.replace(" (", "\n("), fontsize=9)
    bodies = [_figure(panel, body) for body in range(shown.points.shape[1])]
    writer = PillowWriter(fps=_FRAMES_PER_SECOND // _GIF_STEP)
    with writer.saving(figure, str(out), dpi=90):
        for number, frame in enumerate(shown.frames):
            panel.set_title(f"frame {frame}", fontsize=8, color=_GREY)
            for body, (lines, dots) in enumerate(bodies):
                _move(lines, dots, shown, number, body)
            writer.grab_frame()


def animated(packed: Packed, sample: str) -> range:
    """The frames of a sample that an animation shows. Raises ValueError if there is no such sample."""
    return range(0, int(packed.column("num_frames")[_row(packed, sample)]), _GIF_STEP)


def draw_summary(summary: Summary, out: Path) -> None:
    """The counts of a store as bars, and its lengths as a histogram."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    ((actions, subjects, setups), (cameras, lengths, bodies)) = figure.subplots(2, 3)
    for panel, column in ((actions, "action"), (subjects, "subject"), (setups, "setup"), (cameras, "camera")):
        _bars(panel, column, summary.counts[column])
    lengths.hist(summary.lengths, bins=min(40, max(5, len(set(summary.lengths.tolist())))), color=_COLOURS[0])
    lengths.set_xlabel("frames of a sample", fontsize=9)
    facts = {f"{number} bod{'y' if number == 1 else 'ies'}": count for number, count in summary.num_bodies.items()}
    facts["with NaN"] = summary.nan_samples
    bars = bodies.bar(list(facts), list(facts.values()), color=[*_COLOURS, _GREY])
    bodies.bar_label(bars, fontsize=8)
    bodies.margins(y=0.12)
    for panel in (actions, subjects, setups, cameras, lengths, bodies):
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
        panel.set_ylabel("samples", fontsize=9)
    figure.suptitle(f"{summary.manifest.name}: {summary.manifest.num_samples} samples", fontsize=11)
    _save(figure, out)


def _row(packed: Packed, sample: str) -> int:
    if sample not in packed.names:
        raise ValueError(f"sample is {sample!r}; allowed: a name in the store, such as {packed.names[0]!r}")
    return packed.names.index(sample)


def _title(packed: Packed, row: int, sample: str) -> str:
    known = {column: int(packed.column(column)[row]) for column in ("action", "subject", "camera", "setup")}
    said = ", ".join(f"{column} {number}" for column, number in known.items() if number != UNKNOWN)
    return f"{sample} ({said})" if said else sample


def _prepare(panel: Axes, shown: Poses) -> None:
    panel.set_aspect("equal")
    panel.set_xlim(shown.low[0], shown.high[0])
    low, high = shown.low[1], shown.high[1]
    panel.set_ylim(*((high, low) if shown.downwards else (low, high)))
    panel.tick_params(labelsize=7, color=_GREY, labelcolor=_GREY)
    panel.locator_params(nbins=4)
    for spine in panel.spines.values():
        spine.set_color("0.85")


def _figure(panel: Axes, body: int) -> tuple[LineCollection, PathCollection]:
    """An empty stick figure in the colour of its slot."""
    lines = LineCollection([], colors=_COLOURS[body], linewidths=1.6, capstyle="round")
    panel.add_collection(lines, autolim=False)
    return lines, panel.scatter([], [], s=5, color=_COLOURS[body], zorder=3)


def _move(lines: LineCollection, dots: PathCollection, shown: Poses, number: int, body: int) -> None:
    """Put a stick figure where its joints are; a joint that is NaN and its bones are left out."""
    joints = shown.points[number, body][: len(shown.points[number, body]) if shown.there[number, body] else 0]
    bones = joints[np.array(shown.bones, int).reshape(-1, 2)] if len(joints) else np.empty((0, 2, 2))
    lines.set_segments(list(bones[~np.isnan(bones).any(axis=(1, 2))]))
    dots.set_offsets(joints[~np.isnan(joints).any(axis=1)])


def _bars(panel: Axes, column: str, counts: Mapping[int, int]) -> None:
    if set(counts) == {UNKNOWN}:
        panel.text(0.5, 0.5, f"{column} unknown", ha="center", va="center", color=_GREY, transform=panel.transAxes)
        panel.set_xticks([])
    else:
        # By place, not by number: subjects 1 to 106 of which few are there would be a comb.
        places = range(len(counts))
        panel.bar(places, list(counts.values()), color=_COLOURS[0], width=0.8)
        every = max(1, -(-len(counts) // 12)) if len(counts) > 12 else 1
        panel.set_xticks(list(places)[::every], ["?" if n == UNKNOWN else str(n) for n in counts][::every])
    panel.set_xlabel(column, fontsize=9)


def _save(figure: Figure, out: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(out, dpi=150, bbox_inches="tight")
