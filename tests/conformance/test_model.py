"""Encoder, masking and stage 1 against the numbers of the published code."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from stars.data.batches import View
from stars.data.dataset import describe
from stars.data.packed import Packed
from stars.fit import fit
from stars.model import masking
from stars.model.encoder import Encoder, EncoderShape
from stars.model.heads import ContrastiveHead
from stars.model.mamp import DecoderShape, Mamp, Masking, Target
from stars.optimise import adamw, decay_groups, set_learning_rate
from stars.pretrain import Pretrain, Pretraining
from stars.runtime import PlainRuntime
from tests.conformance.fill import fill, filled
from tests.conformance.translate import blank_store, encoder_shape, our_batch
from tests.conformance.vectors import DIRECTORY, load

Arrays = dict[str, NDArray[Any]]


def close(ours: Tensor, reference: NDArray[Any], rtol: float = 1e-5, atol: float = 1e-6) -> None:
    assert tuple(ours.shape) == reference.shape
    np.testing.assert_allclose(ours.detach().numpy(), reference, rtol=rtol, atol=atol)


def build_mamp(size: dict[str, Any], target: Target | None = None, tau: float | None = None) -> Mamp:
    decoder = DecoderShape(width=size["dec"], depth=size["dd"])
    hidden = Masking(ratio=size["ratio"], temperature=size["tau"] if tau is None else tau)
    mamp = Mamp(encoder_shape(size), decoder, hidden, target or Target(stride=size["stride"], normalise=size["norm"]))
    fill(mamp, size["fill_seed"])
    return mamp


def test_fill_rule_is_the_documented_one() -> None:
    expected = torch.tensor([-0.01725866, 0.00536372, -0.08668176])
    torch.testing.assert_close(filled("norm.bias", (3,), 1), expected, rtol=0, atol=5e-9)


@pytest.fixture(scope="module", name="vectors")
def tiny_mamp() -> tuple[Arrays, dict[str, Any]]:
    arrays, meta = load("a_mamp_tiny")
    return arrays, meta["hyperparameters"]


def test_tiny_weights_are_the_filled_ones(vectors: tuple[Arrays, dict[str, Any]]) -> None:
    arrays, size = vectors
    state = build_mamp(size).state_dict()
    assert {f"w/{name}" for name in state} == {name for name in arrays if name.startswith("w/")}
    for name, tensor in state.items():
        np.testing.assert_array_equal(tensor.numpy(), arrays[f"w/{name}"], err_msg=name)


def test_tiny_masking(vectors: tuple[Arrays, dict[str, Any]]) -> None:
    arrays, size = vectors
    rows = our_batch(arrays["x"]).flatten(0, 1)
    moved = masking.intensity(masking.patchify(rows, size["u"]))
    close(moved, arrays["intensity"])
    close(masking.scaled_intensity(moved, size["tau"]), arrays["intensity_scaled"])
    close(masking.mask_probability(moved, size["tau"]), arrays["mask_prob"])
    ids_keep, ids_restore, mask = build_mamp(size).choose_tokens(rows, torch.from_numpy(arrays["u"]))
    np.testing.assert_array_equal(ids_keep, arrays["ids_keep"])
    np.testing.assert_array_equal(ids_restore, arrays["ids_restore"])
    np.testing.assert_array_equal(mask, arrays["mask"])
    _, _, uniform = build_mamp(size, tau=0.0).choose_tokens(rows, torch.from_numpy(arrays["u"]))
    np.testing.assert_array_equal(uniform, arrays["mask_uniform"])


def test_tiny_forward_step_by_step(vectors: tuple[Arrays, dict[str, Any]]) -> None:
    arrays, size = vectors
    mamp = build_mamp(size)
    rows = our_batch(arrays["x"]).flatten(0, 1)
    ids_keep = torch.from_numpy(arrays["ids_keep"])
    embedded = mamp.joints_embed(mamp.patches(rows))
    close(embedded.view(arrays["patch_embed"].shape), arrays["patch_embed"])
    every_token = mamp.embed(rows)
    tokens = mamp.embed_kept(rows, ids_keep)
    close(tokens, arrays["enc_in"])
    close(every_token.gather(1, ids_keep.unsqueeze(2).expand_as(tokens)), arrays["enc_in"])
    close(mamp.blocks[0](tokens), arrays["enc_block0"])
    latent = mamp.encode(tokens)
    close(latent, arrays["latent"])
    close(mamp.decoder_input(latent, ids_keep), arrays["dec_in"])
    close(mamp.decode(latent, ids_keep), arrays["pred"])


def test_tiny_targets(vectors: tuple[Arrays, dict[str, Any]]) -> None:
    arrays, size = vectors
    rows = our_batch(arrays["x"]).flatten(0, 1)
    close(masking.motion(rows, size["stride"]), arrays["motion"])
    close(build_mamp(size, Target(stride=size["stride"], normalise=False)).targets(rows), arrays["target_raw"])
    close(build_mamp(size).targets(rows), arrays["target"])


def test_tiny_loss_and_gradients(vectors: tuple[Arrays, dict[str, Any]]) -> None:
    arrays, size = vectors
    mamp = build_mamp(size)
    result = mamp(our_batch(arrays["x"]), torch.from_numpy(arrays["u"]))
    close(result.prediction, arrays["pred"])
    close(result.target, arrays["target"])
    assert result.num_masked == arrays["mask"].sum()
    close(result.loss, arrays["loss"])
    result.loss.backward()
    for name, parameter in mamp.named_parameters():
        assert parameter.grad is not None, name
        close(parameter.grad, arrays[f"g/{name}"], rtol=1e-4)


@pytest.mark.parametrize(
    ("reference", "target", "tau"),
    [
        ("loss_norm_off", {"normalise": False}, None),
        ("loss_stride4", {"stride": 4}, None),
        ("loss_uniform_mask", {}, 0.0),
        ("loss_mae", {"kind": "coordinates"}, 0.0),
    ],
)
def test_tiny_variants(
    vectors: tuple[Arrays, dict[str, Any]],
    reference: str,
    target: dict[str, Any],
    tau: float | None,
) -> None:
    arrays, size = vectors
    mamp = build_mamp(size, Target(**({"stride": size["stride"], "normalise": size["norm"]} | target)), tau)
    close(mamp(our_batch(arrays["x"]), torch.from_numpy(arrays["u"])).loss, arrays[reference])


@pytest.mark.parametrize(("reference", "exempt"), [("step_up", True), ("step_fork", False)])
def test_tiny_one_step(vectors: tuple[Arrays, dict[str, Any]], reference: str, exempt: bool) -> None:
    arrays, size = vectors
    settings = size["optimizer"]
    mamp = build_mamp(size)
    optimiser = adamw(decay_groups(mamp, settings["wd"], exempt=exempt), tuple(settings["betas"]))
    set_learning_rate(optimiser, settings["lr"])
    mamp(our_batch(arrays["x"]), torch.from_numpy(arrays["u"])).loss.backward()
    optimiser.step()
    for name, parameter in mamp.named_parameters():
        # Adam turns the sign of a vanishing gradient into a whole step, so there a step either way is allowed.
        vanishing = np.abs(arrays[f"g/{name}"]) < 1e-6
        apart = np.abs(parameter.detach().numpy() - arrays[f"{reference}/{name}"])
        assert (apart <= np.where(vanishing, 2 * settings["lr"] + 1e-6, 2e-6)).all(), name


def test_full_mamp() -> None:
    arrays, meta = load("a_mamp_full")
    mamp = build_mamp(meta["hyperparameters"])
    named = dict(mamp.named_parameters())
    assert set(named) == set(arrays["param_names"].tolist())
    in_order = [named[name].detach().double() for name in arrays["param_names"]]
    np.testing.assert_allclose([float(p.sum()) for p in in_order], arrays["param_sum"], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose([float(p.abs().sum()) for p in in_order], arrays["param_abs_sum"], rtol=1e-6)
    x, uniform = our_batch(arrays["x"]), torch.from_numpy(arrays["u"])
    rows = x.flatten(0, 1)
    ids_keep, _, mask = mamp.choose_tokens(rows, uniform)
    np.testing.assert_array_equal(ids_keep, arrays["ids_keep"])
    np.testing.assert_array_equal(mask, arrays["mask"])
    with torch.no_grad():
        latent = mamp.encode(mamp.embed_kept(rows, ids_keep))
    close(latent[:, ::9], arrays["latent_sub"], 1e-4, 1e-5)
    close(latent.double().sum(dim=(1, 2)), arrays["latent_sum"], 1e-4, 1e-5)
    result = mamp(x, uniform)
    close(result.prediction, arrays["pred"], 1e-4, 1e-5)
    close(result.loss, arrays["loss"], 1e-4, 1e-5)
    result.loss.backward()
    gradients = {name: parameter.grad for name, parameter in named.items() if parameter.grad is not None}
    norms = torch.stack([gradients[name].norm() for name in arrays["param_names"]])
    close(norms, arrays["grad_norm"], 1e-4, 1e-5)
    for name in ("decoder_pred.weight", "joints_embed.proj.bias", "mask_token", "pos_embed"):
        close(gradients[name], arrays["grad_" + name.replace(".", "_")], 1e-4, 1e-5)


@pytest.mark.parametrize("depth", [3, 5])
def test_state_dict_keys_are_the_published_ones(depth: int) -> None:
    keys = json.loads((DIRECTORY / "a_checkpoint_keys.json").read_text())[f"stage1_model_8+{depth}"]
    state = Mamp(EncoderShape(), DecoderShape(depth=depth)).state_dict()
    assert {name: list(tensor.shape) for name, tensor in state.items()} == {n: shape for n, (shape, _) in keys.items()}


def test_full_encoder_features() -> None:
    arrays, meta = load("a_encoder_full_features")
    words = meta["hyperparameters"]["config"].split()
    size = {name: int(words[words.index(name) + 1]) for name in ("dim", "depth", "heads", "T", "V", "u", "hidden")}
    encoder, head = Encoder(encoder_shape(size | {"mlp": 4})), ContrastiveHead(size["dim"], size["hidden"])
    fill(encoder, meta["hyperparameters"]["fill_seed"])
    fill(head, meta["hyperparameters"]["fill_seed"], prefix="head.")
    head.eval()
    with torch.no_grad():
        pooled = encoder.pooled(our_batch(arrays["x"]))
        projected, predicted = head(pooled)
    close(pooled, arrays["pooled"], 1e-4, 1e-5)
    close(projected, arrays["projected"], 1e-4, 1e-5)
    close(predicted, arrays["predicted"], 1e-4, 1e-5)


def test_motion_and_masking() -> None:
    arrays, meta = load("b_motion_masking")
    for case in meta["hyperparameters"]["cases"]:
        of_case = {name.partition("_")[2]: a for name, a in arrays.items() if name.startswith(f"c{case['i']}_")}
        rows = our_batch(of_case["x"]).flatten(0, 1)
        moved = masking.intensity(masking.patchify(rows, case["u"]))
        close(moved, of_case["intensity"])
        close(masking.mask_probability(moved, case["tau"]), of_case["prob"])
        kept = masking.num_kept(moved.shape[1], case["ratio"])
        assert kept == case["len_keep"]
        scores = masking.mask_scores(moved, case["tau"], torch.from_numpy(of_case["u"]))
        ids_keep, ids_restore, mask = masking.choose(scores, kept)
        np.testing.assert_array_equal(ids_keep, of_case["ids_keep"])
        np.testing.assert_array_equal(mask, of_case["mask"])
        np.testing.assert_array_equal(ids_restore.argsort(dim=1)[:, :kept], of_case["ids_keep"])
        close(masking.motion(rows, 1), of_case["motion1"])
        close(masking.motion(rows, 4), of_case["motion4"])


class SixSteps(Pretraining):
    """The product's stage 1, on the batches and draws of the vectors."""

    def __init__(self, stage: Pretrain, mamp: Mamp, packed: Packed, arrays: Arrays) -> None:
        super().__init__(stage, mamp, packed, PlainRuntime())
        self.arrays = arrays
        # The reference stops in the middle of its schedule.
        self.num_steps = len(arrays["losses"])

    def loss(self, step: int) -> Tensor:
        epoch, batch = divmod(step, self.steps_per_epoch)
        x, uniform = our_batch(self.arrays["x"][batch]), torch.from_numpy(self.arrays["u"][epoch, batch])
        loss: Tensor = self.prepared(x, uniform).loss
        return loss


def six_steps(folder: Path) -> tuple[SixSteps, Arrays]:
    arrays, meta = load("d_pretrain_6steps")
    size = meta["hyperparameters"]
    mamp = build_mamp(
        size | {"ratio": size["mask_ratio"], "tau": size["motion_aware_tau"], "stride": size["motion_stride"]}
    )
    num_batches, batch_size = arrays["x"].shape[:2]
    packed = blank_store(folder, num_batches * batch_size, size["V"])
    stage = Pretrain(
        data=describe(packed),
        encoder=mamp.shape,
        decoder=DecoderShape(width=size["dec"], depth=size["dd"]),
        masking=mamp.masking,
        target=mamp.target,
        view=View(frames=size["T"]),
        epochs=size["epochs"],
        warmup_epochs=size["warmup_epochs"],
        batch_size=batch_size,
        learning_rate=size["lr"],
        minimum_learning_rate=size["min_lr"],
        weight_decay=size["weight_decay"],
        decay_all=False,
        seed=0,
    )
    task = SixSteps(stage, mamp, packed, arrays)
    assert task.steps_per_epoch == num_batches
    assert {group["betas"] for group in task.optimiser.param_groups} == {tuple(size["betas"])}
    return task, arrays


def test_six_steps_of_pretraining(tmp_path: Path) -> None:
    task, arrays = six_steps(tmp_path / "blank")
    rates = [task.set_rates(step) for step in range(task.num_steps)]
    np.testing.assert_allclose(rates, arrays["lr"], rtol=1e-12)
    np.testing.assert_allclose(fit(task, task.runtime), arrays["losses"], rtol=1e-5)
    apart = []
    for name, parameter in task.modules["mamp"].named_parameters():
        difference = np.abs(parameter.detach().numpy() - arrays[f"final/{name}"])
        if name.endswith("attn.qkv.bias"):
            # A key's bias shifts all scores of a query alike: its gradient is 0 and Adam walks on rounding noise.
            width = len(difference) // 3
            difference = np.delete(difference, slice(width, 2 * width))
        apart.append(difference.ravel())
    every = np.concatenate(apart)
    assert (every <= 1e-5).mean() >= 0.99
    assert every.max() <= 2e-4
