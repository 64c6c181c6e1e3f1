"""Where the recipes `paper` and `published` differ, with the reason of each: the page `docs/RECIPES.md`.

The numbers come from the recipes themselves; a difference without a reason here, or a reason without a difference,
fails a test.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
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
        "Ours: the gradient of two biases is exactly zero, and AdamW turns its rounding noise into full steps. The "
        "text is silent, the code lets it."
    ),
    "stage2.layer_decay": (
        "Section 4.2 gives 0.20; the released configurations 0.45 for NTU-60, 0.40 for NTU-120, 0.35 for PKU-MMD."
    ),
    "stage2.learning_rate": "Section 4.2 gives 0.001; the released configurations for PKU-MMD 0.0001.",
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
        "With whole sequences both views are one array, and the second's predictions carry no gradient: one pass gives "
        "the same loss, gradient, running statistics and queue. `NNCLR(num_views=2)` makes both.",
    ),
    (
        "Only the first view's half of the loss trains (code)",
        "Kept in both, with the factor one half, since gradients are clipped tensor by tensor; "
        "`NNCLR(symmetric=True)` trains through both.",
    ),
    (
        "A sample's own earlier projection is no neighbour (code; the paper is silent)",
        "Kept in both: `NNCLR(exclude_own_sample=False)` allows it.",
    ),
    (
        "Per-tensor clipping at 3 (code; the paper is silent)",
        "Kept in both: `Tune.clip`.",
    ),
    (
        "676 of 750 tokens are masked, not 675 (code: 750 * (1 - 0.9) is cut to a whole number)",
        "Kept in both.",
    ),
    (
        "The checkpoint with the best KNN on the test split (code)",
        "In neither: rows name the last epoch unless they say what else chose the checkpoint.",
    ),
    (
        "The queue of the released code cannot wrap round (a misspelt attribute)",
        "In neither: any queue works with any batch.",
    ),
    (
        "The frozen half of the encoder computes gradients that nobody uses (a misspelt attribute)",
        "In neither: it runs without gradient.",
    ),
    (
        "Absent bodies are tokens of zeros and count in the mean (code)",
        "Kept in both; one row stands for all of them, exactly.",
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
