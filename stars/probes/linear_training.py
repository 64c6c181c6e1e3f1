"""Linear classifiers on frozen features, many of them trained in one pass as batched matrix products.

Shapes: a look is one order of the samples with its own crops, drawn from one pair of seeds; a setting is one pair of
learning rate and weight decay. Every look is learnt from at every setting: these are the classifiers of the stack. None
of them touches another, so that each ends where it would have ended alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from stars import draws
from stars.model.encoder import embedding
from stars.optimise import set_learning_rate, warmup_cosine

_NORM_EPSILON = 1e-6
_MEASURED_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one look draws from.

    Attributes:
        seed: of the start, the order and the crops.
        samples: positions in the training part that it sees.
    """

    seed: int
    samples: Int64[Tensor, " sample"]


class Source:
    """Where the features of a batch come from; a base class."""

    def see(
        self, step: int, looks: Sequence[Look], positions: Int64[Tensor, "look batch"]
    ) -> Float[Tensor, "look batch width"]:
        """Features of the global batch, on the device.

        Args:
            step: optimiser step from 0; what is random about a look is drawn from its seed and this.
            looks: of the stack.
            positions: of the samples in the training part, on the CPU.
        """
        raise NotImplementedError(type(self).__name__)


class LinearClassifiers(nn.Module):
    """A batch norm without weights, then a linear map, for every look and setting (published code)."""

    def __init__(self, num_looks: int, num_settings: int, width: int, num_classes: int) -> None:
        """Weights are unset (see `start`)."""
        super().__init__()
        # All settings of a look see the same features: one set of statistics serves them.
        self.norm = nn.BatchNorm1d(num_looks * width, eps=_NORM_EPSILON, affine=False)
        self.weight = embedding(num_looks, num_settings, num_classes, width)
        self.bias = embedding(num_looks, num_settings, num_classes)

    def forward(self, features: Float[Tensor, "look batch width"]) -> Float[Tensor, "look batch setting class"]:
        """Logits."""
        num_looks, batch, width = features.shape
        columns = self.norm(features.transpose(0, 1).reshape(batch, num_looks * width))
        normalised = columns.view(batch, num_looks, width).transpose(0, 1)
        logits = torch.baddbmm(self.bias.flatten(1)[:, None], normalised, self.weight.flatten(1, 2).mT)
        return logits.view(num_looks, batch, *self.bias.shape[1:])

    @torch.no_grad()
    def start(self, looks: Sequence[Look]) -> None:
        """The published start, one draw a look: weights normal of deviation 0.01, cut at -2 and 2, and bias 0."""
        for number, look in enumerate(looks):
            drawn = torch.empty(self.weight.shape[2:], dtype=self.weight.dtype)
            nn.init.trunc_normal_(drawn, std=0.01, generator=draws.generator(look.seed, 0, "classifier"))
            self.weight[number] = drawn
        self.bias.zero_()


class Tally(nn.Module):
    """How many measured samples every classifier had right after every epoch; part of a checkpoint."""

    hits: Tensor

    def __init__(self, epochs: int, num_looks: int, num_settings: int) -> None:
        """Nothing is counted yet."""
        super().__init__()
        self.register_buffer("hits", torch.zeros(epochs, num_looks, num_settings, dtype=torch.int64))


class LinearTraining:
    """The training task of a linear probe.

    One optimiser serves all settings. SGD with momentum is linear in the gradient, so each classifier's own learning
    rate and weight decay are put on its gradient, and the optimiser's rate is the schedule's share of it, from 1 to 0.

    Attributes:
        classifiers: what is trained.
        tally: what was measured after every epoch that is over.
        looks: of the stack.
    """

    clip: float | None = None
    continued = False

    def __init__(
        self,
        *,
        classifiers: LinearClassifiers,
        source: Source,
        labels: Int64[Tensor, " sample"],
        looks: Sequence[Look],
        settings: Sequence[tuple[float, float]],
        epochs: int,
        batch_size: int,
        world_size: int,
        momentum: float,
        measured: Float[Tensor, "measured width"],
        measured_labels: Int64[Tensor, " measured"],
    ) -> None:
        """Bind the classifiers, at their start and on their device, to what they are trained by and measured on.

        Args:
            classifiers: of these looks and settings.
            source: features of the training part.
            labels: classes of the training part, on the device.
            looks: all of equally many samples.
            settings: learning rate at the first step, and weight decay per unit of it.
            epochs: of the schedule.
            batch_size: samples in a batch of all workers together.
            world_size: workers.
            momentum: of SGD.
            measured: features to measure on, on the device.
            measured_labels: their classes, on the device.

        Raises:
            ValueError: fewer samples than a batch, or a batch that the workers do not divide.
        """
        self.classifiers, self.looks, self.epochs, self.batch_size = classifiers, looks, epochs, batch_size
        self._source, self._labels, self._measured, self._measured_labels = source, labels, measured, measured_labels
        num_samples = len(looks[0].samples)
        self.steps_per_epoch = draws.steps_per_epoch(num_samples, batch_size, world_size)
        self.num_steps = epochs * self.steps_per_epoch
        self.tally = Tally(epochs, len(looks), len(settings)).to(measured.device)
        self.modules: dict[str, nn.Module] = {"classifiers": classifiers, "tally": self.tally}
        parameters = list(classifiers.parameters())
        self._highest = max(rate for rate, _ in settings)
        for parameter in parameters:
            self._put_on_gradient(parameter, settings)
        self.optimiser = torch.optim.SGD([{"params": parameters, "scale": 1.0}], lr=0.0, momentum=momentum)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def set_rates(self, step: int) -> float:
        """Half a cosine to 0, per step. Returns the highest of the rates."""
        share = warmup_cosine(
            step, steps_per_epoch=self.steps_per_epoch, epochs=self.epochs, warmup_epochs=0, learning_rate=1, minimum=0
        )
        set_learning_rate(self.optimiser, share)
        return share * self._highest

    def loss(self, step: int) -> Tensor:
        """Mean over the classifiers and the global batch, which every worker sees whole."""
        if step and step % self.steps_per_epoch == 0:
            self.tally.hits[step // self.steps_per_epoch - 1] = self.correct()
        positions = self.batch(step)
        logits = self.classifiers(self._source.see(step, self.looks, positions))
        wanted = self._labels[positions.to(self._labels.device)][:, :, None].expand(logits.shape[:3])
        return functional.cross_entropy(logits.flatten(0, 2), wanted.flatten())

    def batch(self, step: int) -> Int64[Tensor, "look batch"]:
        """Positions in the training part that each look sees: a new order every epoch, the incomplete batch dropped."""
        epoch, number = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            orders = [
                look.samples[torch.randperm(len(look.samples), generator=draws.generator(look.seed, epoch, "order"))]
                for look in self.looks
            ]
            self._epoch, self._order = epoch, torch.stack(orders)
        return self._order[:, number * self.batch_size : (number + 1) * self.batch_size]

    @torch.no_grad()
    def logits(self) -> Float[Tensor, "look measured setting class"]:
        """What the classifiers, as they are now, say of the measured samples."""
        return torch.cat(list(self._measure()), dim=1)

    @torch.no_grad()
    def correct(self) -> Int64[Tensor, "look setting"]:
        """How many measured samples each classifier, as it is now, has right."""
        hits = torch.zeros_like(self.tally.hits[0])
        for logits, labels in zip(self._measure(), torch.split(self._measured_labels, _MEASURED_AT_ONCE), strict=True):
            hits += (logits.argmax(dim=3) == labels[:, None]).sum(dim=1)
        return hits

    def _measure(self) -> Iterator[Float[Tensor, "look some setting class"]]:
        """Logits of the measured samples, some at a time; the batch norms use what they have seen in training."""
        self.classifiers.eval()
        for some in torch.split(self._measured, _MEASURED_AT_ONCE):
            yield self.classifiers(some.expand(len(self.looks), *some.shape))
        self.classifiers.train()

    def _put_on_gradient(self, parameter: nn.Parameter, settings: Sequence[tuple[float, float]]) -> None:
        """Let a classifier's gradient be that of its own loss and decay, times its own learning rate."""
        shape = (1, len(settings), *[1] * (parameter.ndim - 2))
        rates, decays = (parameter.new_tensor(entries).view(shape) for entries in zip(*settings, strict=True))
        # The loss is the mean over all of them.
        own = rates * len(self.looks) * len(settings)
        decayed = rates * decays if any(decay for _, decay in settings) else None

        def hook(gradient: Tensor) -> Tensor:
            scaled = own * gradient
            return scaled if decayed is None else scaled.addcmul_(decayed, parameter.detach())

        parameter.register_hook(hook)  # type: ignore[no-untyped-call]
