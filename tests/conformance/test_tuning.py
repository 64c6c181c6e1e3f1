"""Stage 2's optimiser settings and the learning-rate schedules against the numbers of the published code."""

import json

import numpy as np
import pytest
import torch

from stars.model.encoder import Encoder, EncoderShape
from stars.model.heads import ContrastiveHead
from stars.optimise import adamw, set_learning_rate, tuning_groups, warmup_cosine
from tests.conformance.vectors import DIRECTORY, load


def test_learning_rate_of_every_tuned_parameter() -> None:
    settings = json.loads((DIRECTORY / "e_param_groups_stars.json").read_text())
    for name, setting in settings.items():
        depth = setting["depth"]
        encoder = Encoder(EncoderShape(frames=4, joints=1, patch=2, width=2, depth=depth, heads=1))
        head = ContrastiveHead(2, 2)
        first = (0 if setting["fully_tune"] else depth // 2) if setting["third_stage"] else None
        (decay,) = setting["weight_decay"]
        groups = tuning_groups(
            encoder,
            head,
            learning_rate=setting["base_lr"],
            layer_decay=setting["layer_decay"],
            first_tuned_block=first,
            weight_decay=decay,
        )
        optimiser = adamw(groups, tuple(setting["betas"]))
        named = {p: n for n, p in encoder.named_parameters()} | {p: f"head.{n}" for n, p in head.named_parameters()}
        rates = {named[p]: group["lr"] for group in optimiser.param_groups for p in group["params"]}
        assert rates == pytest.approx(setting["lr_by_parameter"], rel=1e-12), name
        assert {group["weight_decay"] for group in optimiser.param_groups} == {decay}
        assert {group["eps"] for group in optimiser.param_groups} == {setting["eps"]}
        assert {named[p] for p in named if not p.requires_grad} == set(setting["not_optimised"]), name
        set_learning_rate(optimiser, setting["base_lr"])
        again = {named[p]: group["lr"] for group in optimiser.param_groups for p in group["params"]}
        assert again == pytest.approx(rates, rel=1e-12)


def test_learning_rate_schedules() -> None:
    arrays, meta = load("e_lr_schedule")
    for name, setting in meta["hyperparameters"].items():
        steps = arrays[f"{name}_step"].tolist()
        schedule = {
            "steps_per_epoch": setting["iters"],
            "epochs": setting["epochs"],
            "warmup_epochs": setting["warmup_epochs"],
            "learning_rate": setting["lr"],
            "minimum": setting["min_lr"],
        }
        ours = np.array([warmup_cosine(step, **schedule) for step in steps])
        np.testing.assert_allclose(ours, arrays[f"{name}_lr"], rtol=1e-12, atol=1e-18)
        optimiser = adamw([{"params": [torch.nn.Parameter(torch.zeros(1))], "scale": 0.25}], (0.9, 0.95))
        for rate, scaled in zip(ours, arrays[f"{name}_lr_scaled"], strict=True):
            set_learning_rate(optimiser, rate)
            assert optimiser.param_groups[0]["lr"] == pytest.approx(scaled, rel=1e-12, abs=1e-18)
