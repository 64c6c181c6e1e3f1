"""The skeleton transformer: a body's joints over a few frames become tokens, tokens become features.

Shapes: a row is one body of one sample; a token is one joint during `patch` frames, numbered time-major,
`segment * joints + joint`. Parameter names and shapes are those of the published checkpoints, so that those load
without a map of names.

No constructor here draws random numbers. Weights are NaN until `initialise` or `load_state_dict` sets them, so a
model that was started from nothing fails at its first step instead of training from an accident.
"""

from dataclasses import dataclass
from typing import NoReturn, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from stars.model.masking import patchify
from stars.stage import Value

M = TypeVar("M", bound=nn.Module)

NUM_COORDINATES = 3


@dataclass(frozen=True, kw_only=True)
class EncoderShape(Value):
    """Size of the encoder.

    Attributes:
        frames: length of the (resampled) sequence, in frames.
        joints: joints of one body.
        patch: frames of one joint that make one token, in frames.
        width: length of a token's feature vector.
        depth: number of transformer blocks.
        heads: attention heads in each block.
        mlp_ratio: hidden width of a block's perceptron, as a multiple of `width`.
    """

    frames: int = 120
    joints: int = 25
    patch: int = 4
    width: int = 256
    depth: int = 8
    heads: int = 8
    mlp_ratio: float = 4.0

    def check(self) -> None:
        """Refuse sizes that do not divide, and fewer than two segments (motion needs a before and an after)."""
        for name in ("frames", "joints", "patch", "width", "depth", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"EncoderShape.{name} is {getattr(self, name)}; allowed: at least 1")
        if self.frames % self.patch or self.frames // self.patch < 2:
            allowed = f"a multiple of patch ({self.patch}), at least twice it"
            raise ValueError(f"EncoderShape.frames is {self.frames}; allowed: {allowed}")
        if self.width % self.heads:
            raise ValueError(f"EncoderShape.width is {self.width}; allowed: a multiple of heads ({self.heads})")
        if self.mlp_ratio <= 0 or int(self.width * self.mlp_ratio) < 1:
            raise ValueError(f"EncoderShape.mlp_ratio is {self.mlp_ratio}; allowed: above 0, one hidden unit or more")

    @property
    def segments(self) -> int:
        """Tokens along time."""
        return self.frames // self.patch

    @property
    def tokens(self) -> int:
        """Tokens of one body."""
        return self.segments * self.joints

    @property
    def patch_features(self) -> int:
        """Coordinates in one token: frames of a patch times 3."""
        return self.patch * NUM_COORDINATES


def unset(module: M) -> M:
    """The module, made on the meta device, in memory and with every weight NaN: it must be given values first.

    On the meta device torch's constructors draw nothing from the global generator.
    """
    module = module.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(float("nan"))
    return module


def linear(num_inputs: int, num_outputs: int, bias: bool = True) -> nn.Linear:
    """A linear map without a start."""
    return unset(nn.Linear(num_inputs, num_outputs, bias=bias, device="meta"))


def embedding(*shape: int) -> nn.Parameter:
    """A learned table without a start."""
    return nn.Parameter(torch.full(shape, float("nan")))


class PatchEmbedding(nn.Module):
    """Linear map from a patch's coordinates to a token."""

    def __init__(self, patch: int, width: int) -> None:
        """Holds the weight as the convolution of the published checkpoints, (width, 3, patch, 1)."""
        super().__init__()
        kernel = (patch, 1)
        self.proj = unset(nn.Conv2d(NUM_COORDINATES, width, kernel, stride=kernel, device="meta"))

    def forward(self, patches: Float[Tensor, "*token feature"]) -> Float[Tensor, "*token width"]:
        """Tokens of patches whose features are ordered (frame in patch, coordinate).

        A convolution whose stride is its kernel is this linear map; as one it can run on chosen patches only.
        """
        return functional.linear(patches, self.proj.weight.transpose(1, 2).flatten(1), self.proj.bias)


class Attention(nn.Module):
    """Multi-head self-attention; `qkv` holds query, key and value rows in this order, each head-major."""

    def __init__(self, width: int, heads: int) -> None:
        """Weights are unset."""
        super().__init__()
        self.heads = heads
        self.proj = linear(width, width)
        self.qkv = linear(width, 3 * width)

    def forward(self, tokens: Float[Tensor, "row token width"]) -> Float[Tensor, "row token width"]:
        """Every token looks at every token of its row; scores are scaled by head dimension ** -0.5."""
        query, key, value = self.qkv(tokens).view(*tokens.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen: Tensor = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(seen.transpose(1, 2).flatten(2))
        return out


class Perceptron(nn.Module):
    """Two linear maps with the exact (erf) GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        """Weights are unset."""
        super().__init__()
        self.fc1 = linear(width, hidden)
        self.fc2 = linear(hidden, width)

    def forward(self, tokens: Float[Tensor, "row token width"]) -> Float[Tensor, "row token width"]:
        """Each token on its own."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(tokens)))
        return out


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        """Linear weights are unset, layer norms start at scale 1 and shift 0."""
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Perceptron(width, int(width * mlp_ratio))

    def forward(
        self, tokens: Float[Tensor, "row token width"], kept: Float[Tensor, "branch=2 row"] | None = None
    ) -> Float[Tensor, "row token width"]:
        """Attention, then perceptron, each added to what came in.

        Args:
            tokens: of the block below.
            kept: by what attention and perceptron are multiplied (see `stars.model.dropping`); None is 1.
        """
        attended = self.attn(self.norm1(tokens))
        tokens = tokens + (attended if kept is None else attended * kept[0, :, None, None])
        perceived = self.mlp(self.norm2(tokens))
        mixed: Tensor = tokens + (perceived if kept is None else perceived * kept[1, :, None, None])
        return mixed


class Transformer(nn.Module):
    """Embedding, blocks and final norm: what both stages train and every probe reads.

    `Encoder` calls it on whole bodies, `stars.model.mamp.Mamp` on the tokens that a mask leaves.
    """

    def __init__(self, shape: EncoderShape) -> None:
        """Weights are unset, layer norms start at scale 1 and shift 0."""
        super().__init__()
        self.shape = shape
        self.temp_embed = embedding(1, shape.segments, 1, shape.width)
        self.pos_embed = embedding(1, 1, shape.joints, shape.width)
        self.joints_embed = PatchEmbedding(shape.patch, shape.width)
        self.blocks = nn.ModuleList(Block(shape.width, shape.heads, shape.mlp_ratio) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width)

    def patches(self, rows: Float[Tensor, "row time joint 3"]) -> Float[Tensor, "row token feature"]:
        """The coordinates behind each token.

        Raises:
            ValueError: rows that have not the encoder's number of frames and joints.
        """
        if rows.shape[1] != self.shape.frames:
            self._refuse(rows, f"{self.shape.frames} frames")
        return self._patches(rows)

    def _patches(self, rows: Float[Tensor, "row time joint 3"]) -> Float[Tensor, "row token feature"]:
        if rows.shape[2] != self.shape.joints or rows.shape[1] % self.shape.patch:
            self._refuse(rows, f"a multiple of {self.shape.patch} frames")
        return patchify(rows, self.shape.patch).flatten(1, 2)

    def _refuse(self, rows: Float[Tensor, "row time joint 3"], frames: str) -> NoReturn:
        wanted = f"{frames} of {self.shape.joints} joints"
        raise ValueError(f"a row has {rows.shape[1]} frames of {rows.shape[2]} joints; allowed: {wanted}")

    def positions(self, segments: int | None = None) -> Float[Tensor, "token width"]:
        """What is added to a token for its time and its joint.

        Args:
            segments: tokens along time; None = the encoder's own. At any other number the table of times is resized.
        """
        times = self.temp_embed if segments is None else resize_times(self.temp_embed, segments)
        return (self.pos_embed + times).flatten(0, 2)

    def embed(self, rows: Float[Tensor, "row time joint 3"]) -> Float[Tensor, "row token width"]:
        """All tokens of each row, positions added; rows of any whole number of patches.

        Raises:
            ValueError: rows of other joints than the encoder's, or of frames that make no whole number of patches.
        """
        embedded: Tensor = self.joints_embed(self._patches(rows)) + self.positions(rows.shape[1] // self.shape.patch)
        return embedded

    def encode(
        self,
        tokens: Float[Tensor, "row token width"],
        kept: Float[Tensor, "block branch=2 row"] | None = None,
    ) -> Float[Tensor, "row token width"]:
        """All blocks and the final layer norm.

        Args:
            tokens: from `embed`, or some of them.
            kept: by what the branches of each block are multiplied, row by row; None is 1.
        """
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, None if kept is None else kept[index])
        encoded: Tensor = self.norm(tokens)
        return encoded

    def pooled(self, x: Float[Tensor, "batch body time joint 3"]) -> Float[Tensor, "batch width"]:
        """One feature vector a sample: the mean over all bodies and tokens of the final layer norm's output.

        An absent body (all coordinates exactly 0) counts in the mean, as in the published code. Its output is the
        same in every sample, so one all-zero row a call is encoded in place of all of them; value and gradient are
        those of encoding each.
        """
        rows, row_of_body = distinct_rows(x)
        per_row = self.encode(self.embed(rows)).mean(dim=1)
        return per_row[row_of_body].mean(dim=1)


def resize_times(table: Float[Tensor, "1 segment 1 width"], segments: int) -> Float[Tensor, "1 resized 1 width"]:
    """The learned table of times for another number of segments: bicubic, corners not aligned (published code)."""
    if segments == table.shape[1]:
        return table
    as_image = table.permute(0, 3, 1, 2)
    resized = functional.interpolate(as_image, size=(segments, 1), mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1)


class Encoder(Transformer):
    """The transformer as stage 2 and the probes call it: bodies in, one feature vector a sample out."""

    def forward(self, x: Float[Tensor, "batch body time joint 3"]) -> Float[Tensor, "batch width"]:
        """`pooled`; what a wrapper for several workers calls."""
        return self.pooled(x)


def distinct_rows(
    x: Float[Tensor, "batch body time joint 3"],
) -> tuple[Float[Tensor, "row time joint 3"], Int[Tensor, "batch body"]]:
    """The bodies that are there, then one all-zero row; and for each body of `x` the row that holds it."""
    present = (x != 0).flatten(2).any(dim=2)
    rows = torch.cat((x[present], x.new_zeros(1, *x.shape[2:])))
    rank = present.flatten().cumsum(0).view_as(present) - 1
    return rows, torch.where(present, rank, len(rows) - 1)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Give an encoder (or the whole of stage 1's model) the published start, drawn from `generator` alone.

    Learned tables and tokens: normal of deviation 0.02, cut at -2 and 2. Linear maps: Xavier-uniform, bias 0. Layer
    norms: 1 and 0. The patch embedding: torch's default for a convolution. Source: published code.

    Raises:
        TypeError: a part of the module for which no start is published.
    """
    for part in module.modules():
        own = list(part.parameters(recurse=False))
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight, generator=generator)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Conv2d) and part.bias is not None:
            bound = part.weight[0].numel() ** -0.5
            nn.init.kaiming_uniform_(part.weight, a=5**0.5, generator=generator)
            nn.init.uniform_(part.bias, -bound, bound, generator=generator)
        elif isinstance(part, Transformer):
            for table in own:
                nn.init.trunc_normal_(table, std=0.02, generator=generator)
        elif own:
            raise TypeError(f"no published start for the weights of {type(part).__name__}")
