"""The six protocols of the paper as values: from a recipe and an encoder to the probe that measures it."""

from collections.abc import Callable
from dataclasses import replace

from stars.data.batches import View
from stars.data.dataset import Data
from stars.encoders import EncoderStage
from stars.probes.features import Features
from stars.probes.fewshot import FewShot, NovelKNN
from stars.probes.finetune import FineTune
from stars.probes.knn import KNN
from stars.probes.linear import Linear, LinearOnFeatures
from stars.recipes import Recipe, unlabelled
from stars.stage import Stage

_TRAINING_CROP, _TRAINING_ROTATION = (0.5, 1.0), 0.3


def features(recipe: Recipe, encoder: EncoderStage, data: Data | None = None) -> Features:
    """Pooled features that all probes of an encoder share.

    Args:
        recipe: crop and precision.
        encoder: whose.
        data: other than the recipe's.
    """
    chosen = unlabelled(data or recipe.data)
    return Features(encoder=encoder, data=chosen, crop=recipe.test_crop, precision=recipe.stage1.precision)


def knn(recipe: Recipe, encoder: EncoderStage) -> KNN:
    """K nearest neighbours (table 2)."""
    return recipe.knn(encoder)


def linear(recipe: Recipe, encoder: EncoderStage, seed: int = 0) -> Linear:
    """The linear probe on fresh crops (table 1)."""
    return Linear(
        encoder=encoder,
        data=recipe.data,
        view=_training_view(encoder),
        crop=recipe.test_crop,
        epochs=recipe.linear_epochs,
        batch_size=recipe.linear_batch_size,
        learning_rates=(recipe.linear_rate,),
        seeds=(seed,),
        precision=recipe.stage1.precision,
    )


def linear_on_features(recipe: Recipe, encoder: EncoderStage, seed: int = 0) -> LinearOnFeatures:
    """The linear probe on one centre crop a sequence: a thousandth of the work, and a row that says so."""
    return LinearOnFeatures(
        features=features(recipe, encoder),
        data=recipe.data,
        epochs=recipe.linear_epochs,
        batch_size=recipe.linear_batch_size,
        learning_rates=(recipe.linear_rate,),
        seeds=(seed,),
    )


def finetune(recipe: Recipe, encoder: EncoderStage, seed: int = 0) -> FineTune:
    """Fine-tuning on all labels (table 3); on another data set's recipe than the encoder's, transfer (table 4)."""
    return FineTune(
        start=encoder,
        data=recipe.data,
        view=_training_view(encoder),
        crop=recipe.test_crop,
        epochs=recipe.finetune_epochs,
        warmup_epochs=recipe.finetune_warmup_epochs,
        batch_size=recipe.finetune_batch_size,
        learning_rate=recipe.finetune_rate,
        minimum_learning_rate=1e-5,
        layer_decay=0.8,
        weight_decay=0.05,
        drop_path=0.3,
        dropout=0.3,
        label_smoothing=0.1,
        hidden=recipe.finetune_hidden,
        seed=seed,
        precision=recipe.stage1.precision,
    )


def from_scratch(recipe: Recipe, seed: int = 0, label_fraction: float = 1.0) -> FineTune:
    """Supervised training of an untrained encoder (table 3, "W/o pre-training")."""
    return replace(semi_supervised(recipe, recipe.untrained(seed), label_fraction, seed), layer_decay=1.0)


def semi_supervised(recipe: Recipe, encoder: EncoderStage, label_fraction: float, seed: int = 0) -> FineTune:
    """Fine-tuning on a part of the labels, drawn anew with every seed (table 9); with a part of 1, on all."""
    subset_seed = 0 if label_fraction == 1 else seed
    return replace(finetune(recipe, encoder, seed), label_fraction=label_fraction, subset_seed=subset_seed)


def few_shot(recipe: Recipe, encoder: EncoderStage, seed: int = 0) -> FewShot:
    """n exemplars of each class (table 5, as the text describes it)."""
    return FewShot(features=features(recipe, encoder), data=recipe.data, seed=seed)


def novel_knn(recipe: Recipe, encoder: EncoderStage) -> NovelKNN:
    """n neighbours in the whole training part of novel classes (table 5, as the released program reads it)."""
    return NovelKNN(features=features(recipe, encoder), data=recipe.data, k=(1, 2, 5))


PROTOCOLS: dict[str, Callable[[Recipe, EncoderStage], Stage]] = {
    "knn": knn,
    "linear": linear,
    "linear-cached": linear_on_features,
    "finetune": finetune,
    "semi-1": lambda recipe, encoder: semi_supervised(recipe, encoder, 0.01),
    "semi-10": lambda recipe, encoder: semi_supervised(recipe, encoder, 0.1),
    "few-shot": few_shot,
    "few-shot-published": novel_knn,
}
"""By the names that the command line gives them."""


def _training_view(encoder: EncoderStage) -> View:
    return View(frames=encoder.encoder_shape().frames, crop=_TRAINING_CROP, rotation=_TRAINING_ROTATION)
