"""Self-distillation against its equations, written out."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from stars.data.batches import View
from stars.model.encoder import EncoderShape
from stars.strategies.dino import DINO, DINOObjective, distil, groups, koleo, sinkhorn, ungroup
from stars.strategies.strategy import Batch, Moment

WIDTH, BATCH, OUTPUTS = 6, 8, 5


def objective(**settings: Any) -> DINOObjective:
    strategy = DINO(**({"outputs": OUTPUTS, "same_start": False} | settings))
    module = strategy.build(WIDTH, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        # The published start is so small that every output is much the same.
        for parameter in module.parameters():
            parameter.mul_(50)
    return module


def pooled(num_views: int, seed: int = 1) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    views = torch.randn(num_views, BATCH, WIDTH, generator=generator, dtype=torch.float64)
    return tuple(view.requires_grad_() for view in views.unbind())


def given(student: tuple[Tensor, ...], teacher: tuple[Tensor, ...], epoch: int = 0) -> Batch:
    moment = Moment(step=3 * epoch, steps_per_epoch=3, epochs=4)
    return Batch(student=student, teacher=teacher, sample_ids=torch.arange(BATCH), moment=moment)


def unit(vector: Tensor) -> Tensor:
    direction: Tensor = vector / torch.linalg.vector_norm(vector)
    return direction


def sinkhorn_slowly(rows: Tensor) -> Tensor:
    """As published: outputs down, samples across; shares of outputs, then of samples, three times."""
    shares = torch.exp(rows).T
    num_outputs, num_rows = shares.shape
    shares = shares / shares.sum()
    for _ in range(3):
        for k in range(num_outputs):
            shares[k] = shares[k] / shares[k].sum() / num_outputs
        for b in range(num_rows):
            shares[:, b] = shares[:, b] / shares[:, b].sum() / num_rows
    return (shares * num_rows).T


def koleo_slowly(rows: list[Tensor]) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for i, row in enumerate(rows):
        others = [j for j in range(len(rows)) if j != i]
        nearest = min(others, key=lambda j: float((unit(row) - unit(rows[j])).detach().norm()))
        total = total - torch.log((unit(row) - unit(rows[nearest]) + 1e-8).norm() + 1e-8) / len(rows)
    return total


def loss_slowly(module: DINOObjective, batch: Batch) -> Tensor:
    """Group after group, view after view, sample after sample."""
    settings = module.settings
    student = [[unit(module.head(row)) for row in view] for view in batch.student]
    teacher = [[unit(module.teacher_head(row)).detach() for row in view] for view in batch.teacher]
    temperature = settings.teacher_temperature_at(batch.moment.epoch)
    size = settings.group_size or BATCH
    total = torch.zeros((), dtype=torch.float64)
    pairs = [(i, v) for i in range(len(teacher)) for v in range(len(student)) if v != i]
    for first in range(0, BATCH, size):
        mine = range(first, first + size)
        rows = torch.stack([teacher[i][b] for i in range(len(teacher)) for b in mine])
        match settings.assignment:
            case "sinkhorn":
                targets = sinkhorn_slowly(rows / temperature)
            case "centring":
                targets = ((rows - module.centre) / temperature).softmax(dim=1)
            case "none":
                targets = (rows / temperature).softmax(dim=1)
        for i, v in pairs:
            for b in mine:
                said = (student[v][b] / settings.student_temperature).log_softmax(dim=0)
                total = total - targets[i * size + b - first] @ said / len(pairs) / BATCH
        said_rows = [student[v][b] for v in range(len(student)) for b in mine]
        num_parts = 2 * len(teacher) if settings.koleo_chunks else len(student)
        length = len(said_rows) // num_parts
        for part in range(num_parts):
            spread = koleo_slowly(said_rows[part * length : (part + 1) * length])
            total = total + settings.koleo_weight * spread * size / BATCH
    return total


@pytest.mark.parametrize(
    "settings",
    [
        *({}, {"group_size": 4}, {"num_locals": 2}, {"num_globals": 1, "num_locals": 1}, {"num_globals": 3}),
        *({"assignment": "none"}, {"assignment": "centring"}, {"koleo_weight": 0.0}, {"student_temperature": 0.3}),
        *({"koleo_chunks": True}, {"koleo_chunks": True, "group_size": 4, "num_locals": 2}),
        *({"temperature_epochs": 3, "first_teacher_temperature": 0.2},),
    ],
)
def test_loss_and_gradient_are_the_slow_ones(settings: dict[str, Any]) -> None:
    fast = objective(**settings)
    fast.centre.copy_(torch.randn(1, OUTPUTS, generator=torch.Generator().manual_seed(4)) / 5)
    slow = copy.deepcopy(fast)
    num_views = fast.settings.num_globals + fast.settings.num_locals
    ours, reference = pooled(num_views), pooled(num_views)
    teacher = pooled(fast.settings.num_globals, seed=2)
    loss, expected = fast(given(ours, teacher, epoch=1)), loss_slowly(slow, given(reference, teacher, epoch=1))
    torch.testing.assert_close(loss, expected, rtol=1e-11, atol=0)
    torch.autograd.backward([loss, expected])
    for one, other in zip(ours, reference, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-7, atol=1e-14)
    for (name, parameter), other in zip(fast.head.named_parameters(), slow.head.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-7, atol=1e-14, msg=name)
    assert all(view.grad is None for view in teacher)
    assert all(parameter.grad is None for parameter in fast.teacher_head.parameters())


def test_sinkhorn_gives_rows_that_sum_to_one_and_no_output_an_advantage() -> None:
    logits = 3 * torch.randn(2, 40, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = sinkhorn(logits)
    torch.testing.assert_close(shares.sum(dim=2), torch.ones(2, 40, dtype=torch.float64))
    offset = torch.tensor([20.0, 0, 0, -20], dtype=torch.float64)
    assert bool(((logits + offset).softmax(dim=2)[:, :, 0] > 0.99).all())
    torch.testing.assert_close(sinkhorn(logits + offset), shares)
    assert torch.equal(sinkhorn(logits[1:]), shares[1:]), "groups do not see each other"


def test_sinkhorn_survives_small_temperatures() -> None:
    cosines = torch.linspace(-1, 1, 12).view(1, 4, 3)
    shares = sinkhorn(cosines / 0.001)
    assert bool(shares.isfinite().all())
    torch.testing.assert_close(shares.sum(dim=2), torch.ones(1, 4))


def test_groups_hold_consecutive_samples_with_all_their_views() -> None:
    rows = torch.arange(12.0).view(2, 6, 1)
    assert groups(rows, 2).flatten(1).tolist() == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]
    assert groups(rows, None).flatten(1).tolist() == [list(range(12))]
    assert torch.equal(ungroup(groups(rows, 3), 2), rows)


def test_nothing_is_learnt_from_the_view_that_the_target_is_of() -> None:
    logits, targets = torch.zeros(2, 1, 2), torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    logits[0, 0, 0] = logits[1, 0, 1] = 50
    assert float(distil(logits, targets)) == pytest.approx(50)
    assert float(distil(logits.flip(0), targets)) == pytest.approx(0)


def test_koleo_is_smaller_where_rows_are_further_apart() -> None:
    near = torch.tensor([[[1.0, 0.0], [1.0, 0.1]]])
    far = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    assert float(koleo(far)) == pytest.approx(-math.log(2))
    assert float(koleo(near)) > 0


@pytest.mark.parametrize("centre_sum", [False, True])
def test_the_centre_follows_the_teacher_after_the_loss(centre_sum: bool) -> None:
    module = objective(assignment="centring", centre_sum=centre_sum)
    reference = copy.deepcopy(module)
    student, teacher = pooled(2), pooled(2, seed=2)
    assert torch.equal(module(given(student, teacher)), reference.eval()(given(student, teacher)))
    seen = torch.stack([unit(module.teacher_head(row)) for view in teacher for row in view]).detach()
    moved = seen.sum(dim=0) if centre_sum else seen.mean(dim=0)
    torch.testing.assert_close(module.centre, 0.1 * moved[None])
    assert not reference.centre.any(), "evaluation leaves it alone"
    other = objective(assignment="sinkhorn")
    other(given(student, teacher))
    assert not other.centre.any()


def test_the_teachers_temperature_goes_evenly_to_its_end() -> None:
    warm = {"first_teacher_temperature": 0.02, "teacher_temperature": 0.05}
    for num_epochs, expected in ((0, [0.05] * 4), (1, [0.02, 0.05, 0.05, 0.05]), (4, [0.02, 0.03, 0.04, 0.05])):
        strategy = DINO(temperature_epochs=num_epochs, **warm)  # type: ignore[arg-type]
        found = [strategy.teacher_temperature_at(epoch) for epoch in range(4)]
        assert found == pytest.approx(expected, rel=1e-12)


def test_the_momentum_goes_by_half_a_cosine_and_ends() -> None:
    moments = [Moment(step=step, steps_per_epoch=5, epochs=4) for step in range(20)]
    on_time = [DINO().momentum_at(moment) for moment in moments]
    assert on_time[0] == pytest.approx(0.996)
    assert on_time[10] == pytest.approx(0.998)
    assert sorted(on_time) == on_time
    late = [DINO(late_momentum=True).momentum_at(moment) for moment in moments]
    assert late == [*on_time[5:], 1, 1, 1, 1, 1]
    quarter = DINO(momentum_epoch_steps=20)
    assert quarter.momentum_at(moments[8]) == pytest.approx(on_time[2])
    assert DINO(final_momentum=0.9).momentum_at(moments[10]) == pytest.approx(0.948)


def test_looks() -> None:
    view = View(frames=16, crop=(0.9,), rotation=0.1)
    looks = DINO(num_locals=1, local_frames=8).looks(view)
    assert [(look.view.frames, look.student, look.teacher) for look in looks] == [
        *((16, "gradient", True), (16, "gradient", True)),
        (8, "gradient", False),
    ]
    assert looks[0].view == view
    assert (looks[2].view.crop, looks[2].view.rotation) == ((0.4, 0.8), 0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"num_globals": 0}, {"num_locals": -1}, {"local_frames": 0}, {"outputs": 1}, {"temperature_epochs": -1}),
        *({"momentum_epoch_steps": 0}, {"group_size": 1}, {"koleo_weight": -0.1}, {"student_temperature": 0.0}),
        *({"teacher_temperature": 0.0}, {"first_teacher_temperature": -1.0}, {"momentum": 1.5}),
        *({"final_momentum": -0.5}, {"centre_momentum": 2.0}, {"num_locals": 0, "num_globals": 1}),
        *({"local_crop": (0.8, 0.4)}, {"local_crop": (0.0, 0.4)}, {"local_crop": (0.4, 1.1)}),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    field = next(iter(wrong))
    with pytest.raises(ValueError, match=rf"DINO\.{field} is .*; allowed: "):
        DINO(**wrong)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"num_locals": 2, "local_frames": 10},
            r"local_frames is 10; allowed: a multiple of the encoder's patch \(4\)",
        ),
        ({"num_locals": 2, "local_frames": 20}, "local_frames is 20; allowed: .* at most its 16 frames"),
        ({"group_size": 3}, "group_size is 3; allowed: a divisor of the batch's 8 samples"),
        ({"group_size": 2, "koleo_chunks": True}, "koleo_chunks is True; allowed: False where 2 samples a group"),
        (
            {"num_globals": 3, "koleo_chunks": True, "group_size": 8, "num_locals": 2, "local_frames": 8},
            "6 equal parts",
        ),
    ],
)
def test_what_does_not_fit_the_stage_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=rf"DINO\.?.*{words}"):
        DINO(**settings).check_tuning(EncoderShape(frames=16, patch=4), 8)


def test_local_frames_count_only_where_there_are_local_views() -> None:
    DINO(local_frames=7).check_tuning(EncoderShape(frames=16, patch=4), 8)
