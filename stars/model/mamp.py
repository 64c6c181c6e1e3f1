"""Stage 1, masked motion prediction: the encoder sees a tenth of the tokens, a decoder predicts the motion of the rest.

Shapes: a row is one body of one sample, bodies of a sample next to each other (row = sample * 2 + body); tokens are
time-major. An absent body is a row of zeros like any other: it draws its own mask and its target is 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stars.model.encoder import Block, EncoderShape, Transformer, embedding, linear
from stars.model.masking import choose, intensity, mask_scores, motion, num_kept, patchify
from stars.stage import Value, later


@dataclass(frozen=True, kw_only=True)
class DecoderShape(Value):
    """Size of the decoder; heads and perceptron ratio are the encoder's.

    Attributes:
        width: length of a token's vector in the decoder.
        depth: number of transformer blocks.
    """

    width: int = 256
    depth: int = 5

    def check(self) -> None:
        """Refuse an empty decoder."""
        for name in ("width", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"DecoderShape.{name} is {getattr(self, name)}; allowed: at least 1")


@dataclass(frozen=True, kw_only=True)
class Masking(Value):
    """Which tokens are hidden from the encoder.

    Attributes:
        ratio: share of tokens hidden; the number kept is cut to a whole number.
        temperature: tau of the motion-aware draw, which prefers joints that move; 0 = uniform.
        intensity: relative = a token's mean motion as a share of the body's largest (published code); absolute = the
            sum over the token's features, in metres (paper section 3.2, which hardly tells still joints from moving
            ones: a token moves by centimetres).
    """

    ratio: float = 0.9
    temperature: float = 0.8
    intensity: Literal["relative", "absolute"] = later("relative")

    def check(self) -> None:
        """Refuse shares outside (0, 1) and negative temperatures."""
        if not 0 < self.ratio < 1:
            raise ValueError(f"Masking.ratio is {self.ratio}; allowed: above 0 and below 1")
        if self.temperature < 0:
            raise ValueError(f"Masking.temperature is {self.temperature}; allowed: 0 (uniform) or above")


@dataclass(frozen=True, kw_only=True)
class Target(Value):
    """What the decoder predicts for a hidden token.

    Attributes:
        kind: "motion" = displacement over the next frames, "coordinates" = the joint's position.
        stride: frames over which motion is taken, in frames; without effect on coordinates.
        normalise: each token's target is brought to mean 0 and deviation 1.
        difference: forward = where a joint goes, 0 in the last frames (published code); backward = where it came from,
            the first motion repeated in the frames before it (paper section 3.2); without effect on coordinates.
    """

    kind: Literal["motion", "coordinates"] = "motion"
    stride: int = 1
    normalise: bool = True
    difference: Literal["forward", "backward"] = later("forward")

    def check(self) -> None:
        """Refuse strides below one frame."""
        if self.stride < 1:
            raise ValueError(f"Target.stride is {self.stride}; allowed: at least 1")


_MASKING = Masking()
_TARGET = Target()


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """What one forward pass of stage 1 gives.

    `loss_sum` is summed over masked tokens so that several workers can add numerators and denominators. `mask` is 1
    where masked. `prediction` and `target` hold every token, features ordered (frame in patch, coordinate).
    """

    loss_sum: Float[Tensor, ""]
    num_masked: int
    prediction: Float[Tensor, "row token feature"]
    target: Float[Tensor, "row token feature"]
    mask: Float[Tensor, "row token"]

    @property
    def loss(self) -> Float[Tensor, ""]:
        """Mean over masked tokens of the mean squared error."""
        return self.loss_sum / self.num_masked


class Mamp(Transformer):
    """The encoder with the decoder of stage 1; its state-dict keys are those of the published checkpoints."""

    def __init__(
        self,
        encoder_shape: EncoderShape,
        decoder_shape: DecoderShape,
        masking: Masking = _MASKING,
        target: Target = _TARGET,
    ) -> None:
        """Weights are unset, layer norms start at scale 1 and shift 0.

        Raises:
            ValueError: sizes that do not fit each other, or a mask that keeps no token.
        """
        super().__init__(encoder_shape)
        if decoder_shape.width % encoder_shape.heads:
            allowed = f"a multiple of EncoderShape.heads ({encoder_shape.heads})"
            raise ValueError(f"DecoderShape.width is {decoder_shape.width}; allowed: {allowed}")
        if target.stride >= encoder_shape.frames:
            allowed = f"below EncoderShape.frames ({encoder_shape.frames})"
            raise ValueError(f"Target.stride is {target.stride}; allowed: {allowed}")
        self.num_kept = num_kept(encoder_shape.tokens, masking.ratio)
        if self.num_kept < 1:
            allowed = f"one that keeps at least one of {encoder_shape.tokens} tokens"
            raise ValueError(f"Masking.ratio is {masking.ratio}; allowed: {allowed}")
        self.masking = masking
        self.target = target
        width, heads, mlp_ratio = decoder_shape.width, encoder_shape.heads, encoder_shape.mlp_ratio
        self.mask_token = embedding(1, 1, width)
        self.decoder_temp_embed = embedding(1, encoder_shape.segments, 1, width)
        self.decoder_pos_embed = embedding(1, 1, encoder_shape.joints, width)
        self.decoder_embed = linear(encoder_shape.width, width)
        self.decoder_blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(decoder_shape.depth))
        self.decoder_norm = nn.LayerNorm(width)
        self.decoder_pred = linear(width, encoder_shape.patch_features)

    def choose_tokens(
        self, rows: Float[Tensor, "row time joint 3"], uniform: Float[Tensor, "row token"]
    ) -> tuple[Int[Tensor, "row kept"], Int[Tensor, "row token"], Float[Tensor, "row token"]]:
        """The tokens the encoder may see: `(ids_keep, ids_restore, mask)` of `stars.model.masking.choose`."""
        masking = self.masking
        relative = masking.intensity == "relative"
        mean = intensity(patchify(rows, self.shape.patch))
        moved = mean if relative else mean * self.shape.patch_features
        return choose(mask_scores(moved, masking.temperature, uniform, relative=relative), self.num_kept)

    def embed_kept(
        self, rows: Float[Tensor, "row time joint 3"], ids_keep: Int[Tensor, "row kept"]
    ) -> Float[Tensor, "row kept width"]:
        """The kept tokens with their positions: those of `embed`, without embedding the hidden nine tenths."""
        patches = self.patches(rows)
        kept = patches.gather(1, ids_keep.unsqueeze(2).expand(-1, -1, patches.shape[2]))
        embedded: Tensor = self.joints_embed(kept) + self.positions()[ids_keep]
        return embedded

    def decoder_input(
        self, latent: Float[Tensor, "row kept width"], ids_keep: Int[Tensor, "row kept"]
    ) -> Float[Tensor, "row token decoder_width"]:
        """Every token in its place: the encoder's output where kept, the mask token elsewhere; positions added."""
        num_tokens = self.shape.tokens
        first_token = torch.arange(len(latent), device=latent.device).unsqueeze(1) * num_tokens
        hidden = self.mask_token[0].expand(len(latent) * num_tokens, -1)
        tokens = hidden.index_copy(0, (ids_keep + first_token).flatten(), self.decoder_embed(latent).flatten(0, 1))
        positions = (self.decoder_pos_embed + self.decoder_temp_embed).flatten(1, 2)
        return tokens.view(len(latent), num_tokens, -1) + positions

    def decode(
        self, latent: Float[Tensor, "row kept width"], ids_keep: Int[Tensor, "row kept"]
    ) -> Float[Tensor, "row token feature"]:
        """Prediction for every token, kept ones included."""
        tokens = self.decoder_input(latent, ids_keep)
        for block in self.decoder_blocks:
            tokens = block(tokens)
        prediction: Tensor = self.decoder_pred(self.decoder_norm(tokens))
        return prediction

    def targets(self, rows: Float[Tensor, "row time joint 3"]) -> Float[Tensor, "row token feature"]:
        """What is to be predicted for every token; 0 for an absent body."""
        target = self.target
        shown = motion(rows, target.stride, target.difference) if target.kind == "motion" else rows
        wanted = self.patches(shown)
        if not target.normalise:
            return wanted
        variance, mean = torch.var_mean(wanted, dim=2, keepdim=True)
        return (wanted - mean) / (variance + 1e-6).sqrt()

    def forward(
        self, x: Float[Tensor, "batch body time joint 3"], uniform: Float[Tensor, "row token"]
    ) -> Reconstruction:
        """Mask, encode, decode and compare.

        Args:
            x: joint coordinates.
            uniform: draws from [0, 1) that decide the mask, one row for each body of each sample, in this order.

        Source: paper section 3.2; the loss is the published code's, mean squared error over a token's features.
        """
        rows = x.flatten(0, 1)
        with torch.no_grad():
            ids_keep, _, mask = self.choose_tokens(rows, uniform)
            target = self.targets(rows)
        prediction = self.decode(self.encode(self.embed_kept(rows, ids_keep)), ids_keep)
        error = (prediction - target).square().mean(dim=2)
        return Reconstruction(
            loss_sum=(error * mask).sum(),
            num_masked=len(rows) * (self.shape.tokens - self.num_kept),
            prediction=prediction,
            target=target,
            mask=mask,
        )


def encoder_state(mamp_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's tensors out of the state dict of a `Mamp`."""
    return {name: tensor for name, tensor in mamp_state.items() if not name.startswith(("decoder_", "mask_token"))}
