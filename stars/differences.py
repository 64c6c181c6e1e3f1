"""Where the recipes `paper` and `published` differ, with the reason of each: the page `docs/RECIPES.md`.

The numbers come from the recipes themselves; a difference without a reason here, or a reason without a difference,
fails a test.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from stars.data.dataset import Data
from stars.recipes import Recipe, paper, published
from stars.stage import Value

DATA_SETS = {"NTU-60": "ntu60", "NTU-120": "ntu120", "PKU-MMD I": "pku1", "PKU-MMD II": "pku2"}

REASONS: Mapping[str, str] = {
    "stage1.decay_all": (
        "The text refers to MAMP, whose code spares vectors and biases; the copy of MAMP that the released code brings "
        "decays every tensor."
    ),
    "stage1.view.least_frames": "The text keeps any half to whole; the code at least 64 frames.",
    "stage1.decoder.depth": (
        "Section 4.2 gives 5 layers; the released configuration for NTU-60 has 3, those for NTU-120 and PKU-MMD have 5."
    ),
    "stage1.horizon": "The released evaluation of PKU-MMD starts from the checkpoint of epoch 300 of 400.",
    "stage1.masking.intensity": (
        "Section 3.2 sums absolute motion over a token and divides by tau; the code takes the mean as a share of the "
        "body's largest, and divides that by tau."
    ),
    "stage1.target.difference": (
        "Section 3.2 takes each frame minus an earlier one and repeats what is missing at the start; the code takes a "
        "later frame minus this one, with zeros at the end."
    ),
    "stage1.target.normalise": (
        "The text predicts raw motion; the code brings each token's motion to mean 0 and deviation 1."
    ),
    "stage1.target.stride": (
        "Section 3.2 sets the stride to the segment length; in the code the option for it is never set and stays 1."
    ),
    "stage2.epochs": "Section 4.2 tunes for 20 epochs; the released two-stage configuration for 10.",
    "stage2.freeze_shifts": (
        "Ours: the gradient of the last norm's and the projector's bias is exactly zero, and AdamW turns its rounding "
        "noise into full steps. The text is silent, the code lets it."
    ),
    "stage2.layer_decay": (
        "Section 4.2 gives 0.20; the released configurations 0.45 for NTU-60, 0.40 for NTU-120, 0.35 for PKU-MMD."
    ),
    "stage2.learning_rate": "Section 4.2 gives 0.001; the released configurations for PKU-MMD 0.0001.",
    "stage2.strategy.exclude_own_sample": (
        "Algorithm 1 takes the nearest of the whole queue; the code leaves out a sample's own earlier projections."
    ),
    "stage2.strategy.symmetric": (
        "Algorithm 1 trains by the whole loss; in the code the second view's half carries no gradient, so that half of "
        "the first's does, which clipping by tensor lets show."
    ),
    "stage2.view.least_frames": "As in stage 1, where a view is cropped at all.",
    "stage2.strategy.queue_size": (
        "The text says 8k is used throughout; Algorithm 1 and every released configuration have 32,768."
    ),
    "stage2.view.crop": (
        "Section 4.2 keeps a random half to whole of a sequence in training; the released tuning always sees the whole."
    ),
    "linear_rate": "Section 4.3 gives 0.1; the released configuration for PKU-MMD II 0.01.",
    "linear_batch_size": "Section 4.3 gives 256; the released configuration for PKU-MMD II two workers with 16 each.",
    "test_crop": "Section 4.2 keeps 0.9 of a sequence in tests; the released code 0.95.",
    "moco.published_world": (
        "A defect: the queue's pointer moves twice a step, by the global batch and again by one of four workers' share."
    ),
    "moco.same_start": (
        "A defect: heads are initialised after the teacher was copied, so that its head starts from draws of its own."
    ),
    "dino.group_size": "The released code assigns and regularises each worker's 32 samples by themselves.",
    "dino.koleo_chunks": (
        "A defect: the number of local views is read from that of global ones, so that views are cut into half batches."
    ),
    "dino.late_momentum": "A defect: the momentum is read from its schedule one epoch late.",
    "dino.momentum_epoch_steps": (
        "A defect: the schedule's length is that of NTU-60 XSub, 40,091 sequences in batches of 32, whatever the data "
        "and however many workers."
    ),
    "dino.same_start": "As for MoCo.",
}
"""Field -> why its two values differ."""

SAME = (
    (
        "Two forward passes of one view (code), one (paper)",
        "Without chance in the view both are one array: one pass gives the loss, running statistics and queue of two. "
        "`NNCLR(num_views=2)` makes both.",
    ),
    (
        "The nearest neighbour by Euclidean distance (text), by dot product of normalised vectors (code)",
        "The same neighbour.",
    ),
    ("Negatives are the batch (text), the batch of all workers together (code)", "The batch of all workers together."),
    (
        "Squared norm of a token's error (text), mean of its squares (code)",
        "The mean: a constant factor, which AdamW takes out.",
    ),
    ("Per-tensor clipping at 3 (code; the paper is silent)", "Kept in both: `Tune.clip`."),
    (
        "Weight decay of tuning: 0.01 (text); the released configurations' value never reaches the optimiser, whose "
        "default is 0.01 (code)",
        "0.01.",
    ),
    (
        "The rate of block i: base times alpha to the power N - i (text), with i from 0 and the last norm and head at "
        "the base rate (code)",
        "As the code.",
    ),
    ("676 of 750 tokens are masked, not 675 (code: 750 * (1 - 0.9) is cut to a whole number)", "Kept in both."),
    (
        "Motion at the start of a sequence: repeated (text); in the masking the second segment's (code)",
        "The masking copies the second segment's intensity in both; the target follows `Target.difference`.",
    ),
    (
        "The checkpoint with the best KNN on the test split (code)",
        "In neither: rows name the last epoch unless they say what else chose the checkpoint.",
    ),
    (
        "KNN: 1 neighbour (text); several, by plain vote; the monitor during tuning by a weighted vote of projected "
        "features (code)",
        "`KNN.k`, `KNN.vote`; features are named in every row. It may be why Tables 6 and 7 give one setting 81.9 "
        "and 84.5.",
    ),
    (
        "Few-shot: n exemplars of each class (text); n neighbours in the whole training part (released instructions)",
        "Both, under names of their own: `FewShot`, `NovelKNN`.",
    ),
    (
        "MoCo and DINO with flipped and rotated views (text); with none in every released configuration (code)",
        "Both are points of `sweeps/tuning_strategy.py`.",
    ),
    (
        "DINO with local views of 40 to 80 % (text, table 11); not configured, and of full length (code)",
        "`DINO(num_locals=2)`: really shorter, drawn apart.",
    ),
    (
        "MoCo and DINO tune the blocks from number 4 on, whatever the depth (code)",
        "`Tune.tuned_blocks`; None is the upper half.",
    ),
    (
        "MoCo and DINO on XView begin with the weights of XSub (released configurations)",
        "In neither: stage 1 is of the protocol's own training part.",
    ),
    (
        "Fine-tuning: a perceptron as head (text); dropout, 2,048 units, batch norm (code), and a rate of 5e-4 in the "
        "configuration that the command line overrides with the text's 3e-4",
        "As the code, at 3e-4.",
    ),
    (
        "Semi-supervised: the mean of five draws (text); five runs on one draw (code)",
        "Every seed draws anew; `FineTune(subset_seed=0)` keeps one.",
    ),
    (
        "Three biases have a gradient of exactly zero, and AdamW walks on its rounding noise (code)",
        "`Tune.freeze_shifts` stops two of them; the third, the keys' in every attention, changes no output.",
    ),
    ("The queue of the released code cannot wrap round (a misspelt attribute)", "In neither: any queue works."),
    (
        "The frozen half of the encoder computes gradients that nobody uses (a misspelt attribute)",
        "In neither: it runs without gradient.",
    ),
    (
        "Absent bodies are tokens of zeros and count in the mean (code)",
        "Kept in both; one row stands for all, exactly.",
    ),
    (
        "Embeddings are never tuned, also where all blocks are (code)",
        "Kept in both, so that NNCLR from scratch keeps the embeddings that were drawn.",
    ),
    (
        "A single person of NTU-120 is copied into the second body (code)",
        "A property of the data: `Data.second_body`, which `prepare ntu120` sets.",
    ),
    (
        "The recipe for two stages exists for NTU-60 XSub alone (code)",
        "`published` applies its settings to the other data sets, each with its own decay and rate; "
        "`Recipe.three_stage` has the released three-stage settings, 20 epochs of the head and 10 of both.",
    ),
)
"""Where text and code differ and both recipes do the same: the difference, and what they do."""


def differences(data_set: str) -> dict[str, tuple[Any, Any]]:
    """The fields whose values differ for a data set of this name: as the text has them, and as the code does."""
    data = Data(name=data_set, content="0" * 64, joints=25, label_rule="action", protocol="XSub")
    stated, done = (dict(_fields(make(data))) for make in (paper, published))
    ordered = dict.fromkeys([*stated, *done])
    return {name: (stated.get(name), done.get(name)) for name in ordered if stated.get(name) != done.get(name)}


def between(recipe: Recipe) -> dict[str, Any]:
    """What the other of the two does of all that changes KNN after stage 2: by field, in the order of the recipe.

    Of `published` the other is the text, of any other recipe the released code. A recipe with sizes of its own has no
    difference where its value is neither's, and none that its epochs leave no room for.
    """
    mine = dict(_fields(recipe))
    found = {}
    for name, (stated, done) in differences(recipe.data.name).items():
        theirs = stated if recipe.name == "published" else done
        concerned = name.startswith(("stage1.", "stage2.")) or name == "test_crop"
        room = name != "stage1.horizon" or theirs is None or theirs < recipe.stage1.epochs
        if concerned and room and mine[name] in (stated, done) and mine[name] != theirs:
            found[name] = theirs
    return found


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with other values of some fields, by their paths. Raises ValueError where `start` rules one out."""
    for name, content in values.items():
        part, _, path = name.partition(".")
        if part == "stage1":
            first, _, rest = path.partition(".")
            recipe = recipe.with_stage1(**{first: _set(getattr(recipe.stage1, first), rest, content)})
        else:
            recipe = replace(recipe, **{part: _set(getattr(recipe, part), path, content)})
    return recipe


def _set(value: Any, path: str, content: Any) -> Any:
    """The value with another content at a path; the content itself where the path is empty."""
    if not path:
        return content
    first, _, rest = path.partition(".")
    return replace(value, **{first: _set(getattr(value, first), rest, content)})


def page() -> str:
    """`docs/RECIPES.md`. Raises KeyError for a difference without a reason."""
    lines = [
        "# Paper and published code",
        "",
        "`--recipe paper` is what the text states, `--recipe published` what the released code does, which shaped the",
        "published numbers. This page is written from the two: `python -m stars recipes`.",
        "",
        "## Where the recipes differ",
        "",
        f"| field | paper | {' | '.join(DATA_SETS)} | why |",
        f"|---|---|{'---|' * len(DATA_SETS)}---|",
    ]
    found = {title: differences(name) for title, name in DATA_SETS.items()}
    for field in dict.fromkeys(field for changed in found.values() for field in changed):
        stated = next(changed[field][0] for changed in found.values() if field in changed)
        done = [_shown(changed[field][1]) if field in changed else "as the paper" for changed in found.values()]
        lines.append(f"| `{field}` | {_shown(stated)} | {' | '.join(done)} | {REASONS[field]} |")
    lines += ["", "## Where text and code differ, and the recipes do not", "", "| difference | here |", "|---|---|"]
    lines += [f"| {difference} | {here} |" for difference, here in SAME]
    return "\n".join(lines) + "\n"


def _fields(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """Every field of a recipe by its path; what a stage starts from is listed once, where it stands by itself."""
    for part in ("stage1", "stage2", "moco", "dino"):
        value: Value = getattr(recipe, part)
        yield from ((path, content) for path, content in _flat(value, part) if not path.startswith("stage2.start."))
    for item in fields(recipe):
        content = getattr(recipe, item.name)
        if item.name != "name" and not isinstance(content, Value):
            yield item.name, content


def _flat(value: Value, path: str) -> Iterator[tuple[str, Any]]:
    """Fields at their default included, which the canonical form leaves out."""
    for item in fields(value):
        content = getattr(value, item.name)
        if isinstance(content, Value):
            yield from _flat(content, f"{path}.{item.name}")
        else:
            yield f"{path}.{item.name}", content


def _shown(content: Any) -> str:
    match content:
        case None:
            return "none"
        case bool():
            return "yes" if content else "no"
        case tuple() | list():
            return " to ".join(map(str, content))
        case _:
            return str(content)
