"""What a tuning's head makes of pooled features: what its loss saw, and what the published monitor judged."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from stars.data.dataset import Data
from stars.encoders import EncoderStage
from stars.imported import Imported
from stars.joint import Joint
from stars.model.encoder import linear
from stars.model.heads import ContrastiveHead
from stars.outcome import StoreError
from stars.probes.features import Features, FeatureStage, Part, read_parts, write_features
from stars.runtime import Runtime
from stars.tune import OBJECTIVE_FILE, Tune

_HEAD = "head."


@dataclass(frozen=True, kw_only=True)
class HeadFeatures(FeatureStage):
    """Pooled features after the head, in evaluation mode, of the tuning that the encoder comes from.

    The sequences are not encoded again.

    Attributes:
        pooled: what the head is applied to.
        encoder: the tuning, whose encoder gave the pooled features; or its import, with the head.
        output: projected: after NNCLR's or MoCo's projector, or DINO's one linear map. predicted: after NNCLR's or
            MoCo's predictor too.
    """

    pooled: Features
    encoder: EncoderStage
    output: Literal["projected", "predicted"]

    def check(self) -> None:
        """Refuse an encoder without a head, and the head of another encoder than the features'."""
        if self.encoder != self.pooled.encoder:
            raise ValueError(f"HeadFeatures.encoder is {self.encoder}; allowed: that of the pooled features")
        if not isinstance(self.encoder, Tune | Joint | Imported):
            raise ValueError(
                f"HeadFeatures.encoder is a {type(self.encoder).__name__}; "
                "allowed: a tuning, a joint training, or an import"
            )

    def check_data(self, probe: str, data: Data) -> None:
        """Refuse what the pooled features refuse."""
        self.pooled.check_data(probe, data)

    def feature_name(self) -> str:
        """The head's output."""
        return self.output

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Leaves `features.safetensors`.

        Raises:
            StoreError: an imported encoder came without a head.
            ValueError: the head has no such output.
        """
        path = inputs["encoder"] / OBJECTIVE_FILE
        if not path.is_file():
            raise StoreError(
                f"{inputs['encoder']} holds no {OBJECTIVE_FILE}; allowed: an encoder that came with a head"
            )
        state = {name.removeprefix(_HEAD): t for name, t in load_file(path).items() if name.startswith(_HEAD)}
        found = {
            name: Part(features=apply_head(state, part.features, self.output), rows=part.rows)
            for name, part in read_parts(inputs["pooled"]).items()
        }
        if runtime.rank == 0:
            write_features(out, found, self.feature_name())


@torch.inference_mode()
def apply_head(
    state: Mapping[str, Tensor], pooled: Float[Tensor, "sample width"], output: Literal["projected", "predicted"]
) -> Float[Tensor, "sample output"]:
    """Pooled features after a head in evaluation mode, in their precision.

    Args:
        state: the head's tensors under their published names, which tell what head it is.
        pooled: features.
        output: see `HeadFeatures`.

    Raises:
        ValueError: tensors of no head that is known, or one without such an output.
    """
    width = pooled.shape[1]
    if "projector.0.weight" in state and "predictor.0.weight" in state:
        head = ContrastiveHead(width, len(state["predictor.0.weight"])).to(pooled.dtype)
        head.load_state_dict(dict(state))
        projected, predicted = head.eval().forward(pooled)
        return predicted if output == "predicted" else projected
    if state.keys() == {"weight", "bias"} and output == "projected":
        projector = linear(width, len(state["weight"])).to(pooled.dtype)
        projector.load_state_dict(dict(state))
        return projector.forward(pooled)
    raise ValueError(f"HeadFeatures.output is {output!r}; allowed: an output of the head, which has {sorted(state)}")
