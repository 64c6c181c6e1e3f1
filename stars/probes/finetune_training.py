"""The training task of fine-tuning."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from stars import draws
from stars.data.batches import Clips, View, draw, views
from stars.data.dataset import Split
from stars.model.classifier import Classifier, JointMeans
from stars.model.dropping import Dropped, draw_dropped
from stars.model.encoder import Encoder
from stars.optimise import adamw, finetuning_groups, set_learning_rate, warmup_cosine
from stars.pretrain import DTYPES
from stars.runtime import Runtime

if TYPE_CHECKING:
    from stars.probes.finetune import FineTune

_MEASURED_AT_ONCE = 64


class Tally(nn.Module):
    """How many measured samples were right after every epoch, -1 where nobody looked; part of a checkpoint."""

    hits: Tensor

    def __init__(self, epochs: int) -> None:
        """Nothing is counted yet."""
        super().__init__()
        self.register_buffer("hits", torch.full((epochs,), -1))


class FineTuning:
    """The training task of a `FineTune` stage.

    Of the global batch every worker encodes its share. What the classifier sees is gathered with gradient, and every
    worker runs classifier and loss on the whole batch: its batch norm needs no synchronisation, and the number of
    workers changes nothing.
    """

    clip: float | None = None
    continued = False

    def __init__(
        self, stage: "FineTune", encoder: Encoder, classifier: Classifier, parts: Split, runtime: Runtime
    ) -> None:
        """Bind the stage to its data and its worker."""
        self.stage, self.parts, self.runtime = stage, parts, runtime
        self.rows, self.measured = stage.labelled(parts), torch.from_numpy(parts.measured)
        self.labels = torch.from_numpy(parts.labels).to(runtime.device)
        self.clips = Clips(parts.packed, runtime.device, DTYPES[stage.precision], **stage.data.filling())
        self.steps_per_epoch = draws.steps_per_epoch(len(self.rows), stage.batch_size, runtime.world_size)
        self.num_steps = stage.epochs * self.steps_per_epoch
        self.joint_means, self.classifier = JointMeans(encoder, stage.dropout), classifier
        self.tally = Tally(stage.epochs)
        self.modules: dict[str, nn.Module] = {"encoder": encoder, "classifier": classifier, "tally": self.tally}
        self.encode = runtime.prepare(self.joint_means)
        groups = finetuning_groups(encoder, classifier, layer_decay=stage.layer_decay, weight_decay=stage.weight_decay)
        self.optimiser = adamw(groups, betas=(0.9, 0.999))

    def set_rates(self, step: int) -> float:
        """Linear warm-up, then half a cosine, per step; each layer at its own share."""
        stage = self.stage
        rate = warmup_cosine(
            step,
            steps_per_epoch=self.steps_per_epoch,
            epochs=stage.epochs,
            warmup_epochs=stage.warmup_epochs,
            learning_rate=stage.learning_rate,
            minimum=stage.minimum_learning_rate,
        )
        set_learning_rate(self.optimiser, rate)
        return rate

    def loss(self, step: int) -> Tensor:
        """The global batch's; before an epoch begins, what the one before has left is measured."""
        done, position = divmod(step, self.steps_per_epoch)
        if done and not position and not done % self.stage.measure_every:
            self._note(done, self.logits())
        rows = self.batch(step)
        means = self.runtime.gather(self.encode(self.see(rows, step), self.dropped(step)))
        wanted = self.labels[rows.to(self.labels.device)]
        smoothing = self.stage.label_smoothing
        return functional.cross_entropy(self.classifier(means), wanted, label_smoothing=smoothing)

    def batch(self, step: int) -> Int64[Tensor, " batch"]:
        """Which samples the global batch of a step holds."""
        return draws.batch(self.rows, seed=self.stage.seed, step=step, batch_size=self.stage.batch_size)

    def see(self, rows: Int64[Tensor, " batch"], step: int) -> Float[Tensor, "share body=2 time joint 3"]:
        """This worker's share of the batch."""
        stage, rank, world_size = self.stage, self.runtime.rank, self.runtime.world_size
        cut = draw(stage.view, self.clips.valid[rows], draws.generator(stage.seed, step, "view"))
        return views(self.clips, rows[self._mine()], stage.view, cut.part(rank, world_size))

    def dropped(self, step: int) -> Dropped:
        """What this worker drops of its share."""
        stage, device, dtype = self.stage, self.runtime.device, DTYPES[self.stage.precision]
        drawn = draw_dropped(
            stage.encoder_shape(),
            self._mine(),
            stage.batch_size,
            drop_path=stage.drop_path,
            dropout=stage.dropout,
            seed=stage.seed,
            step=step,
        )
        return Dropped(
            branches=None if drawn.branches is None else drawn.branches.to(device=device, dtype=dtype),
            kept=None if drawn.kept is None else drawn.kept.to(device),
        )

    def _mine(self) -> slice:
        share = self.stage.batch_size // self.runtime.world_size
        return slice(self.runtime.rank * share, (self.runtime.rank + 1) * share)

    @torch.no_grad()
    def logits(self) -> Float[Tensor, "measured class"]:
        """What the network, as it is now, says of the measured samples; each worker looks at its share of them."""
        stage, num_measured, world_size = self.stage, len(self.measured), self.runtime.world_size
        share = -(-num_measured // world_size)
        # The workers must have equally many: the last one begins again from the first.
        places = torch.arange(self.runtime.rank * share, (self.runtime.rank + 1) * share) % num_measured
        centre = View(frames=stage.view.frames, crop=(stage.crop,), stream=stage.view.stream)
        self.classifier.eval()
        found = []
        for rows in torch.split(self.measured[places], _MEASURED_AT_ONCE):
            x = views(self.clips, rows, centre, draw(centre, self.clips.valid[rows], None))
            found.append(self.classifier(self.joint_means(x)))
        self.classifier.train()
        return self.runtime.gather(torch.cat(found))[:num_measured]

    def conclude(self) -> Float[Tensor, "measured class"]:
        """Measure what the last epoch has left. Returns the logits."""
        logits = self.logits()
        self._note(self.stage.epochs, logits)
        return logits

    def hits(self) -> dict[int, int]:
        """Right answers by epoch, from 1, where somebody looked."""
        return {epoch: right for epoch, right in enumerate(self.tally.hits.tolist(), start=1) if right >= 0}

    def _note(self, epoch: int, logits: Float[Tensor, "measured class"]) -> None:
        wanted = self.labels[self.measured.to(self.labels.device)]
        self.tally.hits[epoch - 1] = int((logits.argmax(dim=1) == wanted).sum())
