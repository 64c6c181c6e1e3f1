"""Every file of reference numbers is either cleared by a test module or waits for a named part of the product."""

import re
from pathlib import Path

from tests.conformance.vectors import DIRECTORY

CLEARED = {
    "a_checkpoint_features.npz": "test_checkpoints.py",
    "a_checkpoint_keys.json": "test_checkpoints.py",
    "a_drop_path.npz": "test_finetune.py",
    "a_encoder_full_features.npz": "test_model.py",
    "a_mamp_full.npz": "test_model.py",
    "a_mamp_tiny.npz": "test_model.py",
    "b_motion_masking.npz": "test_model.py",
    "ckpt_stage1_tiny.pth": "test_checkpoints.py",
    "ckpt_stage2_tiny.pt": "test_checkpoints.py",
    "d_pretrain_6steps.npz": "test_model.py",
    "e_lr_schedule.npz": "test_tuning.py",
    "e_momentum_schedule.npz": "test_dino.py",
    "e_param_groups_mamp.json": "test_finetune.py",
    "e_param_groups_stars.json": "test_tuning.py",
    "f_dino_3steps.npz": "test_dino.py",
    "f_dino_loss_parts.npz": "test_dino.py",
    "f_moco_3steps.npz": "test_moco.py",
    "f_nn_search.npz": "test_nnclr.py",
    "f_nnclr_3steps.npz": "test_nnclr.py",
    "f_nnclr_loss_multi_gpu.npz": "test_nnclr.py",
    "f_queue_wrap.npz": "test_nnclr.py",
    "g_augmentations.npz": "test_augmentations.py",
    "g_crop_resize.npz": "test_data.py",
    "g_feeder_dataset.npz": "test_feeder.py",
    "g_random_rot.npz": "test_data.py",
    "g_streams_and_temp_embed.npz": "test_streams.py",
    "h_ntu120_chain.npz": "test_data.py",
    "h_ntu_chain.npz": "test_data.py",
    "h_pku.npz": "test_data.py",
    "i_finetune.npz": "test_finetune.py",
    "i_knn.npz": "test_knn.py",
    "i_linprobe.npz": "test_linprobe.py",
    "ntu_raw": "test_data.py",
    "pku_raw": "test_data.py",
}
"""File or folder of the vectors directory -> module beside this one whose tests run all of it."""

PENDING: dict[str, str] = {}
"""File or folder of the vectors directory -> the later part of the product that will clear it. Nothing is left."""


def test_every_file_is_accounted_for() -> None:
    present = {path.name for path in DIRECTORY.iterdir() if path.name != "README.md"}
    assert present == CLEARED.keys() | PENDING.keys()
    assert not CLEARED.keys() & PENDING.keys()


def test_cleared_files_are_named_by_their_test_module() -> None:
    for name, module in CLEARED.items():
        source = (Path(__file__).parent / module).read_text()
        assert re.search(rf"\b{re.escape(Path(name).stem)}\b", source), f"{module} does not mention {name}"
