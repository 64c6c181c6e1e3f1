"""Recipes: the base values that a sweep varies.

`paper` is what the paper's text states, `published` what the released code does (which shaped the published numbers),
`small` is the paper's method at a size that a laptop trains in minutes, for the embedded synthetic data and for own
recordings of that order. The first two know the paper's data sets by their names; others are treated as NTU-60.
`docs/RECIPES.md` lists where they differ and why (`stars.differences`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from stars.data.batches import View
from stars.data.dataset import Data
from stars.encoders import EncoderStage
from stars.model.encoder import EncoderShape
from stars.model.mamp import DecoderShape, Masking, Target
from stars.paper_sets import settings_of
from stars.pretrain import Pretrain
from stars.probes.features import Features
from stars.probes.knn import KNN
from stars.stage import fingerprint, kind
from stars.strategies.dino import DINO
from stars.strategies.moco import MoCo
from stars.strategies.nnclr import NNCLR
from stars.tune import Tune


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Base values bound to a data set.

    Attributes:
        name: as the command line calls it.
        data: what is tested on, with its labels. Training sees the same recordings without its label rule.
        stage1: pretraining.
        stage2: tuning, with `stage1` as its start.
        test_crop: centre crop of features, as a fraction.
        moco: the strategy that stage 2 is compared with.
        dino: another one.
        head_epochs: of three-stage training, epochs in which the head alone is trained.
        third_epochs: of three-stage training, epochs in which head and encoder are tuned.
        linear_epochs: of the linear probe.
        linear_batch_size: sequences in one of its batches.
        linear_rate: its learning rate at the start.
        finetune_epochs: of fine-tuning.
        finetune_warmup_epochs: of these, with a rising learning rate.
        finetune_batch_size: sequences in one of its batches.
        finetune_rate: its largest learning rate.
        finetune_hidden: width of its classifier's hidden layer.
        k: numbers of neighbours that KNN reports.
        reseed_pretraining: whether a sweep's seeds reseed stage 1 too; otherwise it keeps its own.
        start: the encoder that tuning begins with in place of stage 1 (see `begun_with`); None is stage 1.
        label_fractions: parts of the labels that the semi-supervised protocol keeps, each in (0, 1].
        target: base values on the other data that an encoder is taken to: another data set, or novel actions; None
            where a sweep has no such data.
    """

    name: str
    data: Data
    stage1: Pretrain
    stage2: Tune
    test_crop: float
    moco: MoCo = MoCo()
    dino: DINO = DINO()
    head_epochs: int = 20
    third_epochs: int = 10
    linear_epochs: int = 100
    linear_batch_size: int = 256
    linear_rate: float = 0.1
    finetune_epochs: int = 100
    finetune_warmup_epochs: int = 5
    finetune_batch_size: int = 48
    finetune_rate: float = 3e-4
    finetune_hidden: int = 2048
    k: tuple[int, ...] = (1, 2, 5, 10)
    reseed_pretraining: bool = False
    start: EncoderStage | None = None
    label_fractions: tuple[float, ...] = (0.01, 0.1)
    target: "Recipe | None" = None

    def pretrain(self, seed: int) -> EncoderStage:
        """Stage 1 as a point with this seed uses it, or the encoder that stands in its place."""
        if self.start is not None:
            return self.start
        return replace(self.stage1, seed=seed) if self.reseed_pretraining else self.stage1

    def untrained(self, seed: int) -> Pretrain:
        """The encoder as initialised from the seed."""
        return replace(self.stage1, epochs=0, seed=seed)

    def tune(self, seed: int) -> Tune:
        """Stage 2 as a point with this seed uses it."""
        return replace(self.stage2, start=self.pretrain(seed), seed=seed)

    def three_stage(self, seed: int) -> Tune:
        """STARS-3stage (paper, supplement A): the head alone, then head and encoder."""
        tuned = self.tune(seed)
        head = replace(tuned, tuned_blocks=0, epochs=self.head_epochs)
        return replace(tuned, start=head, epochs=self.third_epochs, continue_objective=True)

    def nnclr(self) -> NNCLR:
        """The settings of stage 2's strategy. Raises ValueError where that is another than NNCLR."""
        if not isinstance(self.stage2.strategy, NNCLR):
            raise ValueError(f"strategy is {type(self.stage2.strategy).__name__}; allowed: NNCLR")
        return self.stage2.strategy

    def with_stage1(self, **changes: Any) -> "Recipe":
        """The recipe with other settings of stage 1. Raises ValueError where an encoder stands in its place."""
        if self.start is not None:
            raise ValueError(f"--start with another {', '.join(changes)} of stage 1; allowed: without --start")
        stage1 = replace(self.stage1, **changes)
        return replace(self, stage1=stage1, stage2=replace(self.stage2, start=stage1))

    def targeted(self) -> "Recipe":
        """The recipe on the data that an encoder is taken to. Raises ValueError where there are none."""
        if self.target is None:
            raise ValueError(f"target of the recipe {self.name} is None; allowed: a recipe on other data")
        return self.target

    def knn(self, encoder: EncoderStage) -> KNN:
        """The KNN probe of an encoder."""
        precision = self.stage1.precision
        features = Features(encoder=encoder, data=unlabelled(self.data), crop=self.test_crop, precision=precision)
        return KNN(features=features, data=self.data, k=self.k)

    def context(self) -> dict[str, bool | int | float | str]:
        """What was chosen, for the reader of a table."""
        data = self.data
        # Only where there is one: the plans of sweeps without it keep their names.
        begun = {} if self.start is None else {"start": f"{kind(self.start)} {fingerprint(self.start)[:16]}"}
        taken = {} if self.target is None else self.target._named_as_target()
        return {
            **begun,
            **taken,
            "recipe": self.name,
            "dataset": data.name,
            "data_content": data.content,
            "protocol": data.protocol,
            "label_rule": data.label_rule,
            "coordinates_missing": data.coordinates_missing,
            "reseed_pretraining": self.reseed_pretraining,
        }

    def _named_as_target(self) -> dict[str, str]:
        data = self.data
        actions = {"target_actions": f"{data.actions[0]} to {data.actions[-1]}"} if data.actions else {}
        return {"target": data.name, "target_content": data.content, **actions}


def begun_with(recipe: Recipe, start: EncoderStage) -> Recipe:
    """The recipe with an encoder that is there in place of stage 1, whose sizes and sequence length it takes over.

    Raises:
        ValueError: the encoder has another number of joints than the data, or seeds were to reseed stage 1.
    """
    shape = start.encoder_shape()
    if shape.joints != recipe.data.joints:
        raise ValueError(f"--start has an encoder of {shape.joints} joints; allowed: the data's {recipe.data.joints}")
    if recipe.reseed_pretraining:
        raise ValueError("--reseed-pretraining with --start, which leaves no stage 1 to reseed; allowed: one of them")
    # What is left of stage 1 is the untrained encoder that tables compare with: of the same sizes.
    stage1 = replace(
        recipe.stage1,
        encoder=shape,
        decoder=replace(recipe.stage1.decoder, width=shape.width),
        view=replace(recipe.stage1.view, frames=shape.frames),
    )
    stage2 = replace(recipe.stage2, start=start, view=replace(recipe.stage2.view, frames=shape.frames))
    return replace(recipe, stage1=stage1, stage2=stage2, start=start)


def unlabelled(data: Data) -> Data:
    """The data as self-supervised stages see them: no label rule re-keys a training."""
    return replace(data, label_rule="action")


def paper(data: Data) -> Recipe:
    """What the text states (section 4.2); where it is silent, the published values."""
    stage1 = Pretrain(
        data=unlabelled(data),
        encoder=EncoderShape(frames=120, joints=data.joints, patch=4, width=256, depth=8, heads=8),
        decoder=DecoderShape(width=256, depth=5),
        masking=Masking(ratio=0.9, temperature=settings_of(data.name).temperature, intensity="absolute"),
        target=Target(kind="motion", stride=4, normalise=False, difference="backward"),
        view=View(frames=120, crop=(0.5, 1.0), rotation=0.3, least_frames=1),
        epochs=400,
        warmup_epochs=20,
        batch_size=128,
        learning_rate=1e-3,
        minimum_learning_rate=5e-4,
        weight_decay=0.05,
        decay_all=False,
        seed=0,
    )
    stage2 = Tune(
        start=stage1,
        data=unlabelled(data),
        strategy=NNCLR(queue_size=8192, temperature=0.07, hidden=4096, exclude_own_sample=False, symmetric=True),
        view=View(frames=120, crop=(0.5, 1.0), least_frames=1),
        tuned_blocks=None,
        layer_decay=0.2,
        epochs=20,
        batch_size=128,
        learning_rate=1e-3,
        weight_decay=0.01,
        clip=3.0,
        freeze_shifts=True,
        seed=0,
    )
    return Recipe(name="paper", data=data, stage1=stage1, stage2=stage2, test_crop=0.9)


def published(data: Data) -> Recipe:
    """What the released code does: its configuration files, its defaults and its defects."""
    base, known = paper(data), settings_of(data.name)
    stage1 = replace(
        base.stage1,
        decoder=DecoderShape(width=256, depth=known.decoder_depth),
        masking=Masking(ratio=0.9, temperature=known.temperature),
        target=Target(kind="motion", stride=1, normalise=True),
        view=View(frames=120, crop=(0.5, 1.0), rotation=0.3),
        decay_all=True,
        horizon=known.horizon,
    )
    stage2 = replace(
        base.stage2,
        start=stage1,
        strategy=NNCLR(queue_size=32768, temperature=0.07, hidden=4096),
        view=View(frames=120, crop=(1.0,)),
        layer_decay=known.layer_decay,
        learning_rate=known.learning_rate,
        epochs=10,
        freeze_shifts=False,
    )
    # Four workers with 32 samples each; the length of an epoch is that of NTU-60 XSub whatever the data.
    moco = MoCo(same_start=False, published_world=4)
    dino = DINO(
        same_start=False, group_size=32, koleo_chunks=True, late_momentum=True, momentum_epoch_steps=40091 // 32
    )
    return replace(
        base,
        name="published",
        stage1=stage1,
        stage2=stage2,
        test_crop=0.95,
        moco=moco,
        dino=dino,
        linear_rate=known.linear_rate,
        linear_batch_size=known.linear_batch_size,
    )


def small(data: Data) -> Recipe:
    """The paper's method at a size for hundreds of sequences and a processor.

    Chosen on the embedded data of generator seeds 0 to 2. Where it departs from the paper in kind: a batch from a dozen
    classes holds many of one class, which a temperature of 0.07 would drive apart, hence 0.3; with a hundred tokens a
    body, a tenth is too little to predict from, hence a mask ratio of 0.8.
    """
    base = paper(data)
    # Masks, motion, crops and contrast as published: on these the values below were chosen.
    stage1 = replace(
        base.stage1,
        encoder=EncoderShape(frames=24, joints=data.joints, patch=6, width=64, depth=4, heads=4),
        decoder=DecoderShape(width=64, depth=1),
        masking=Masking(ratio=0.8, temperature=0.8),
        target=Target(kind="motion", stride=4, normalise=False),
        view=View(frames=24, crop=(0.5, 1.0), rotation=0.3),
        epochs=60,
        warmup_epochs=5,
        batch_size=16,
    )
    stage2 = replace(
        base.stage2,
        start=stage1,
        strategy=NNCLR(queue_size=512, temperature=0.3, hidden=1024),
        view=View(frames=24, crop=(1.0,)),
        epochs=6,
        batch_size=64,
        learning_rate=3e-3,
        share_frozen_half=True,
    )
    return replace(
        base,
        name="small",
        stage1=stage1,
        stage2=stage2,
        moco=MoCo(queue_size=512, temperature=0.3, hidden=1024, momentum=0.99),
        dino=DINO(outputs=64, local_frames=12, momentum=0.99),
        head_epochs=6,
        third_epochs=3,
        linear_epochs=60,
        linear_batch_size=64,
        finetune_epochs=20,
        finetune_warmup_epochs=2,
        finetune_batch_size=16,
        finetune_rate=1e-3,
        finetune_hidden=256,
        label_fractions=(0.05, 0.1),
    )


def rehearsal(data: Data) -> Recipe:
    """`small` in a few epochs: every step is taken, and no number means anything."""
    base = small(data)
    stage1 = replace(base.stage1, epochs=6, warmup_epochs=1)
    return replace(
        base,
        name="rehearsal",
        stage1=stage1,
        stage2=replace(base.stage2, start=stage1, epochs=2),
        head_epochs=1,
        third_epochs=1,
        linear_epochs=4,
        finetune_epochs=2,
        finetune_warmup_epochs=1,
    )


RECIPES: dict[str, Callable[[Data], Recipe]] = {
    "paper": paper,
    "published": published,
    "small": small,
    "rehearsal": rehearsal,
}

_SMALL_DATA = 5000


def recipe_name(asked: str, num_train: int) -> str:
    """The recipe's name; `auto` is small below 5,000 training sequences, else the paper's."""
    if asked != "auto":
        return asked
    return "small" if num_train < _SMALL_DATA else "paper"
