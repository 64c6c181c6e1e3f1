"""Self-distillation without labels: the student's outputs for every view should be the teacher's for the others.

Source: Caron et al., "Emerging properties in self-supervised vision transformers", with Sinkhorn-Knopp assignment and
the KoLeo regulariser, as the paper uses it (tables 10 and 11); details of the published code are named where they
matter.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stars.data.batches import View
from stars.model.encoder import EncoderShape, linear
from stars.model.heads import initialise_head
from stars.strategies.strategy import Batch, Look, Moment, Objective, Strategy

_SINKHORN_ROUNDS = 3
_KOLEO_MARGIN = 1e-8


@dataclass(frozen=True, kw_only=True)
class DINO(Strategy):
    """Self-distillation.

    Attributes:
        num_globals: views that student and teacher see; each is the stage's.
        num_locals: views that the student alone sees, cropped by `local_crop`.
        local_crop: part of the valid frames that a local view keeps, drawn between the two.
        local_frames: length of a local view, in frames: a multiple of the encoder's patch.
        outputs: length of the head's output.
        student_temperature: divisor of the student's outputs.
        teacher_temperature: divisor of the teacher's outputs.
        first_teacher_temperature: the same in the first epoch; it reaches its end over `temperature_epochs`, evenly.
        temperature_epochs: epochs of the way, first and last included; 0 = the end from the start.
        momentum: what the teacher keeps of itself at the first step, from 0 to 1; half a cosine leads to the end.
        final_momentum: the same behind the last step.
        momentum_epoch_steps: steps of an epoch as the cosine counts them; None = those that there are. The released
            code counts 40091 (NTU-60, cross-subject) divided by one worker's share, so that four workers walk a
            quarter of the way.
        late_momentum: read the cosine one epoch late (released code). Behind its end the end stays.
        assignment: how the teacher's outputs become targets: `sinkhorn` gives every output the same share of the
            group, `centring` takes off a running centre, `none` takes them as they are.
        centre_momentum: what the centre keeps of itself at every step, from 0 to 1.
        centre_sum: the centre follows the sum of the teacher's outputs (released code), not their mean.
        koleo_weight: weight of the KoLeo regulariser, which drives apart the nearest outputs of a view; 0 = none.
        koleo_chunks: cut the student's outputs of a group, views after one another, into twice as many parts as there
            are global views, and regularise those (released code), instead of each view.
        group_size: samples of the global batch that `sinkhorn` and KoLeo treat together; None = all. In the released
            code one worker's share, 32.
        same_start: the teacher's head starts as the student's; in the released code it starts from draws of its own.
    """

    num_globals: int = 2
    num_locals: int = 0
    local_crop: tuple[float, float] = (0.4, 0.8)
    local_frames: int = 60
    outputs: int = 128
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    first_teacher_temperature: float = 0.04
    temperature_epochs: int = 0
    momentum: float = 0.996
    final_momentum: float = 1.0
    momentum_epoch_steps: int | None = None
    late_momentum: bool = False
    assignment: Literal["sinkhorn", "centring", "none"] = "sinkhorn"
    centre_momentum: float = 0.9
    centre_sum: bool = False
    koleo_weight: float = 0.1
    koleo_chunks: bool = False
    group_size: int | None = None
    same_start: bool = True

    def check(self) -> None:
        """Refuse sizes, temperatures and shares that cannot be, and a single view, which has no other to agree with."""
        least = {"num_globals": 1, "num_locals": 0, "local_frames": 1, "outputs": 2, "temperature_epochs": 0}
        least |= {"momentum_epoch_steps": 1, "group_size": 2, "koleo_weight": 0}
        for name, limit in least.items():
            if getattr(self, name) is not None and getattr(self, name) < limit:
                raise ValueError(f"DINO.{name} is {getattr(self, name)}; allowed: {limit} or more")
        for name in ("student_temperature", "teacher_temperature", "first_teacher_temperature"):
            if getattr(self, name) <= 0:
                raise ValueError(f"DINO.{name} is {getattr(self, name)}; allowed: above 0")
        for name in ("momentum", "final_momentum", "centre_momentum"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"DINO.{name} is {getattr(self, name)}; allowed: from 0 to 1")
        if self.num_globals + self.num_locals < 2:
            raise ValueError(f"DINO.num_locals is {self.num_locals}; allowed: 1 or more beside a single global view")
        if not 0 < self.local_crop[0] <= self.local_crop[1] <= 1:
            raise ValueError(f"DINO.local_crop is {self.local_crop}; allowed: two numbers in (0, 1] that ascend")

    def check_tuning(self, shape: EncoderShape, batch_size: int) -> None:
        """Refuse local views that make no whole number of patches, and groups that do not divide."""
        if self.num_locals and (self.local_frames % shape.patch or self.local_frames > shape.frames):
            allowed = f"a multiple of the encoder's patch ({shape.patch}), at most its {shape.frames} frames"
            raise ValueError(f"DINO.local_frames is {self.local_frames}; allowed: {allowed}")
        size = self.group_size or batch_size
        if batch_size % size:
            raise ValueError(f"DINO.group_size is {size}; allowed: a divisor of the batch's {batch_size} samples")
        rows, left = divmod(size * (self.num_globals + self.num_locals), self.num_parts)
        if self.koleo_weight and (left or rows < 2):
            allowed = f"False where {size} samples a group make no {self.num_parts} equal parts of two or more"
            raise ValueError(f"DINO.koleo_chunks is {self.koleo_chunks}; allowed: {allowed}")

    @property
    def num_parts(self) -> int:
        """Parts of a group's outputs, views after one another, that KoLeo treats each by itself."""
        return 2 * self.num_globals if self.koleo_chunks else self.num_globals + self.num_locals

    def looks(self, view: View) -> tuple[Look, ...]:
        """The global ones, for student and teacher, then the local ones, for the student."""
        local = replace(view, crop=self.local_crop, frames=self.local_frames, least_frames=1)
        return (Look(view=view, teacher=True),) * self.num_globals + (Look(view=local),) * self.num_locals

    def build(self, width: int, generator: torch.Generator) -> "DINOObjective":
        """Heads, drawn from `generator`: the student's, then the teacher's if it differs."""
        return DINOObjective(self, width, generator)

    def momentum_at(self, moment: Moment) -> float:
        """Half a cosine over the steps of the whole training."""
        position = moment.step + (moment.steps_per_epoch if self.late_momentum else 0)
        end = moment.epochs * (self.momentum_epoch_steps or moment.steps_per_epoch)
        share = (1 + math.cos(math.pi * min(1.0, position / end))) / 2
        return self.final_momentum + (self.momentum - self.final_momentum) * share

    def teacher_temperature_at(self, epoch: int) -> float:
        """Evenly from the first to the last, then constant; epochs from 0."""
        if epoch >= self.temperature_epochs:
            return self.teacher_temperature
        way = epoch / max(1, self.temperature_epochs - 1)
        return self.first_teacher_temperature + (self.teacher_temperature - self.first_teacher_temperature) * way


class DINOObjective(Objective):
    """Heads and loss of self-distillation.

    Buffer: `centre` (1, outputs), the running centre of the teacher's outputs; 0 unless `centring` moves it.
    """

    centre: Tensor
    teacher_head: nn.Module

    def __init__(self, settings: DINO, width: int, generator: torch.Generator) -> None:
        """See `DINO.build`."""
        head, teacher_head = linear(width, settings.outputs), linear(width, settings.outputs)
        initialise_head(head, generator)
        if settings.same_start:
            teacher_head.load_state_dict(head.state_dict())
        else:
            initialise_head(teacher_head, generator)
        super().__init__(head, teacher_head)
        self.settings = settings
        self.register_buffer("centre", torch.zeros(1, settings.outputs))

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        """Loss of one global batch, the regulariser included; in training mode the centre then follows.

        Args:
            batch: pooled features of all views for the student, of the global ones for the teacher.
        """
        settings = self.settings
        student = outputs(self.head, batch.student)
        with torch.no_grad():
            teacher = outputs(self.teacher_head, batch.teacher)
            targets = self.targets(teacher, batch.moment.epoch)
            if self.training and settings.assignment == "centring":
                self.follow_centre(teacher)
        loss = distil(student / settings.student_temperature, targets)
        return loss + settings.koleo_weight * self.regulariser(student) if settings.koleo_weight else loss

    @torch.no_grad()
    def targets(self, teacher: Float[Tensor, "view batch output"], epoch: int) -> Float[Tensor, "view batch output"]:
        """What the student should say: shares of the outputs that sum to 1 in every row."""
        temperature = self.settings.teacher_temperature_at(epoch)
        match self.settings.assignment:
            case "sinkhorn":
                grouped = groups(teacher, self.settings.group_size)
                return ungroup(sinkhorn(grouped / temperature), len(teacher))
            case "centring":
                return ((teacher - self.centre) / temperature).softmax(dim=2)
            case "none":
                return (teacher / temperature).softmax(dim=2)

    @torch.no_grad()
    def follow_centre(self, teacher: Float[Tensor, "view batch output"]) -> None:
        """Move the centre towards the mean (or the sum) of the teacher's outputs."""
        rows = teacher.flatten(0, 1)
        seen = rows.sum(dim=0) if self.settings.centre_sum else rows.mean(dim=0)
        self.centre.lerp_(seen.unsqueeze(0), 1 - self.settings.centre_momentum)

    def regulariser(self, student: Float[Tensor, "view batch output"]) -> Float[Tensor, ""]:
        """KoLeo summed over the parts of a group, mean over groups."""
        grouped = groups(student, self.settings.group_size)
        parts = grouped.reshape(len(grouped) * self.settings.num_parts, -1, grouped.shape[2])
        return koleo(parts).sum() / len(grouped)


def outputs(head: nn.Module, pooled: tuple[Float[Tensor, "batch width"], ...]) -> Float[Tensor, "view batch output"]:
    """The head's outputs, of length 1."""
    return functional.normalize(head(torch.stack(pooled)), dim=2)


def groups(rows: Float[Tensor, "view batch output"], size: int | None) -> Float[Tensor, "group row output"]:
    """Consecutive samples with all their views, views after one another; None = one group of all."""
    num_views, batch_size, width = rows.shape
    return rows.view(num_views, -1, size or batch_size, width).transpose(0, 1).flatten(1, 2)


def ungroup(rows: Float[Tensor, "group row output"], num_views: int) -> Float[Tensor, "view batch output"]:
    """Undo `groups`."""
    num_groups, _, width = rows.shape
    return rows.view(num_groups, num_views, -1, width).transpose(0, 1).flatten(1, 2)


def sinkhorn(logits: Float[Tensor, "group row output"]) -> Float[Tensor, "group row output"]:
    """Sinkhorn-Knopp in each group: exp(logits), scaled so that outputs get about equal shares and rows sum to 1.

    Three rounds, as published; in logarithms, so that no share is lost to rounding. The published constant factors
    cancel in the normalisation that follows each of them.
    """
    for _ in range(_SINKHORN_ROUNDS):
        logits = logits - logits.logsumexp(dim=1, keepdim=True)
        logits = logits - logits.logsumexp(dim=2, keepdim=True)
    return logits.exp()


def distil(
    logits: Float[Tensor, "view batch output"], targets: Float[Tensor, "global batch output"]
) -> Float[Tensor, ""]:
    """Cross-entropy of every target with the logits of every other view; mean over samples and pairs.

    The targets belong to the first views.
    """
    crossed = -torch.einsum("gbk,vbk->gv", targets, logits.log_softmax(dim=2)) / logits.shape[1]
    others = ~torch.eye(len(targets), len(logits), dtype=torch.bool, device=logits.device)
    return crossed[others].mean()


def koleo(rows: Float[Tensor, "part row output"]) -> Float[Tensor, " part"]:
    """Kozachenko-Leonenko regulariser: minus the mean logarithm of the distance to the nearest row of the same part.

    Rows are brought to length 1 first. Gradient flows through both rows of a pair. Source: Sablayrolles et al.,
    "Spreading vectors for similarity search"; the margin is added to difference and distance as in the published code.
    """
    rows = functional.normalize(rows, dim=2)
    with torch.no_grad():
        similarity = rows @ rows.mT
        similarity.diagonal(dim1=1, dim2=2).fill_(-math.inf)
        nearest = similarity.argmax(dim=2, keepdim=True).expand_as(rows)
    distance: Tensor = torch.linalg.vector_norm(rows - rows.gather(1, nearest) + _KOLEO_MARGIN, dim=2)
    return -(distance + _KOLEO_MARGIN).log().mean(dim=1)
