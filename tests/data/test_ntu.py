"""Which bodies become which actor, and where the origin lies. The published numbers are checked in conformance."""

from collections.abc import Mapping

import numpy as np
import pytest

from stars.data.ntu import NtuName, parse_name, process
from stars.data.skeleton import Unreadable, parse
from tests.data.texts import moving, recorded, text_of


def processed(bodies: Mapping[str, tuple[int, np.ndarray]], num_frames: int) -> np.ndarray:
    return process(parse(text_of(recorded(bodies, num_frames)), "x"))


def still(num_frames: int, seed: int) -> np.ndarray:
    """A body that hardly moves: less motion than any `moving` one of the same height."""
    return moving(num_frames, seed, height=1.0, width=0.2)


def test_names_are_read_and_others_refused() -> None:
    assert parse_name("S017C003P020R002A060") == NtuName(17, 3, 20, 2, 60)
    for name in (
        "S1C1P1R1A1",
        "S017C003P020R002A060.skeleton",
        "S000C001P001R001A001",
        "",
        "S01\u0667C003P020R002A060",
    ):
        with pytest.raises(Unreadable, match="SsssCcccPpppRrrrAaaa"):
            parse_name(name)


def test_one_body_is_moved_to_its_spine_and_kept_however_short() -> None:
    joints = moving(3)
    sequence = processed({"a": (0, joints)}, 3)
    np.testing.assert_array_equal(sequence, (joints - joints[0, 1])[:, None])


def test_frames_without_a_body_are_dropped() -> None:
    joints = moving(4)
    frames = recorded({"a": (0, joints)}, 4)
    sequence = process(parse(text_of([{}, *frames[:2], {}, *frames[2:]]), "x"))
    np.testing.assert_array_equal(sequence[:, 0], joints - joints[0, 1])


def test_the_body_with_more_motion_comes_first_and_absence_is_zero() -> None:
    quiet, lively = still(20, 1), moving(15, 2)
    sequence = processed({"quiet": (0, quiet), "lively": (3, lively)}, 20)
    assert sequence.shape == (20, 2, 25, 3)
    origin = lively[0, 1]
    np.testing.assert_array_equal(sequence[3:18, 0], lively - origin)
    np.testing.assert_array_equal(sequence[:, 1], quiet - origin)
    assert not sequence[:3, 0].any()
    assert not sequence[18:, 0].any()


@pytest.mark.parametrize(("appearances", "num_bodies"), [(11, 1), (12, 2)])
def test_a_body_of_eleven_frames_is_noise(appearances: int, num_bodies: int) -> None:
    assert processed({"a": (0, moving(20)), "b": (0, still(appearances, 1))}, 20).shape[1] == num_bodies


def test_a_sequence_without_a_long_body_is_refused() -> None:
    with pytest.raises(Unreadable, match=r"x.skeleton: no body is seen in more than 11 frames; allowed: at least 12"):
        processed({"a": (0, moving(11)), "b": (0, moving(9))}, 11)


def test_a_sequence_of_zeros_is_refused() -> None:
    with pytest.raises(Unreadable, match="no coordinate other than 0"):
        processed({"a": (0, np.zeros((13, 25, 3), np.float32))}, 13)


@pytest.mark.parametrize(("num_wide", "num_bodies"), [(14, 1), (13, 2)])
def test_a_body_wider_than_high_in_seventy_percent_of_its_frames_is_no_person(num_wide: int, num_bodies: int) -> None:
    doubtful = still(20, 1)
    doubtful[:num_wide, :, 0] *= 100
    assert processed({"wide": (0, doubtful), "a": (0, moving(20))}, 20).shape[1] == num_bodies


def test_the_last_body_is_kept_however_wide() -> None:
    sequence = processed({"a": (0, moving(20, width=9)), "b": (0, moving(20, 1, width=9))}, 20)
    assert sequence.shape[1] == 1


def test_motion_counts_only_frames_of_a_plausible_width() -> None:
    """Without its wide frames the restless body moves less than the other, and becomes the second."""
    restless, steady = still(20, 1), moving(20, 2)
    restless[:5, :, 0] *= 100
    sequence = processed({"restless": (0, restless), "steady": (0, steady)}, 20)
    np.testing.assert_array_equal(sequence[:, 0], steady - steady[0, 1])


def test_bodies_that_follow_each_other_share_a_slot_and_a_third_at_once_is_dropped() -> None:
    first, second = moving(20, 1, height=3), moving(20, 2, height=2.5)
    together, extra = still(40, 3), moving(15, 4, height=0.5, width=0.1)
    bodies = {"first": (0, first), "second": (20, second), "together": (0, together), "extra": (2, extra)}
    sequence = processed(bodies, 40)
    np.testing.assert_array_equal(sequence[:, 0], np.concatenate((first, second)) - first[0, 1])
    np.testing.assert_array_equal(sequence[:, 1], together - first[0, 1])


def test_nan_stays_and_a_nan_origin_is_everywhere() -> None:
    joints = moving(12)
    joints[4, 7, 1] = np.nan
    assert np.isnan(processed({"a": (0, joints)}, 12)).sum() == 1
    joints[0, 1] = np.nan
    assert np.isnan(processed({"a": (0, joints)}, 12)).all()


def test_a_nan_origin_leaves_absent_bodies_at_zero() -> None:
    lively, quiet = moving(20), still(12, 1)
    lively[0, 1, 0] = np.nan
    sequence = processed({"a": (0, lively), "b": (8, quiet)}, 20)
    first = int(np.isnan(sequence).sum(axis=(0, 2, 3)).argmax())
    assert np.isnan(sequence[:, first, :, 0]).all()
    assert not sequence[:8, 1 - first].any()


def test_a_joint_too_far_from_the_spine_is_refused() -> None:
    joints = moving(14)
    joints[0, 1] = 3e38
    joints[3, 4] = -3e38
    with pytest.raises(Unreadable, match="a joint is too far from the first body's spine"):
        processed({"1": (0, joints)}, 14)
