"""The body and its scripts: planted feet, mirrored sides, curves without overshoot."""

import numpy as np
import pytest

from stars.data.kinematics import SLICES, Build, Joint, skeleton
from stars.data.people import draw_person
from stars.data.performance import ACTIONS
from stars.data.script import Script, monotone_cubic

PERSON = draw_person(np.random.default_rng(1), build=1, habits=0, left_handed=0)


def test_left_handed_people_are_mirror_images() -> None:
    draw = np.random.default_rng(3)
    script = Script(PERSON, draw, 0.0)
    ACTIONS[4].alone(script)  # type: ignore[misc]
    motion = script.sample(np.linspace(0, script.duration, 20))
    right, left = skeleton(Build(), motion, 1.0), skeleton(Build(), motion, -1.0)
    swapped = [Joint[one.name.replace("LEFT", "#").replace("RIGHT", "LEFT").replace("#", "RIGHT")] for one in Joint]
    np.testing.assert_allclose(left, right[:, swapped] * (-1, 1, 1), atol=1e-12)


def test_feet_stand_on_the_floor_and_hands_reach_their_targets() -> None:
    script = Script(PERSON, np.random.default_rng(0), 0.0)
    script.to(1.0, lead_hand=(0.0, 0.0, 0.9), pelvis=(0.0, -0.3, -0.1))
    motion = script.sample(np.linspace(0, script.duration, 30))
    build = Build()
    joints = skeleton(build, motion, 1.0)
    ankles = joints[:, (Joint.ANKLE_LEFT, Joint.ANKLE_RIGHT)]
    np.testing.assert_allclose(ankles[..., 1], build.ankle, atol=1e-9)
    assert np.ptp(ankles, axis=0).max() < 1e-9
    reach = joints[-1, Joint.WRIST_RIGHT] - joints[-1, Joint.SHOULDER_RIGHT]
    np.testing.assert_allclose(reach, (0.0, 0.0, -0.9 * build.arm), atol=0.06)
    assert joints[0, 0, 1] - joints[-1, 0, 1] == pytest.approx(0.3 * build.leg, abs=0.03)


def test_keyframes_are_met_without_overshoot() -> None:
    knots, values = np.array([0.0, 0.4, 1.0, 1.1]), np.array([[0.0], [1.0], [1.5], [-1.0]])
    curve = monotone_cubic(knots, values, np.linspace(-1, 2, 301))
    np.testing.assert_allclose(monotone_cubic(knots, values, knots), values, atol=1e-12)
    assert curve.max() == pytest.approx(1.5, abs=1e-3)
    assert curve.min() == -1.0
    assert (np.diff(curve[100:200, 0]) >= 0).all()


def test_every_channel_of_the_pose_matters() -> None:
    script = Script(PERSON, np.random.default_rng(0), 0.0)
    script.to(1.0, lead_hand=(0.1, -0.4, 0.5), other_hand=(0.1, -0.4, 0.5))
    still = script.sample(np.array([script.duration]))
    standing = skeleton(Build(), still, 1.0)
    # Standing legs are stretched: a raised pelvis would be pulled back, so every channel is lowered.
    for name, where in SLICES.items():
        for column in range(where.start, where.stop):
            moved = still.copy()
            moved[:, column] -= 0.1
            assert np.abs(skeleton(Build(), moved, 1.0) - standing).max() > 1e-3, (name, column - where.start)
