"""Values, their canonical form and their fingerprints."""

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stars.model.encoder import EncoderShape
from stars.recipes import RECIPES
from stars.stage import Value, canonical, decode, encode, fingerprint, kind, needs, tag, upstream
from tests.examples import DATA, a_point


def test_equal_meaning_gives_equal_bytes() -> None:
    tune = a_point().features.encoder
    assert fingerprint(replace(tune, layer_decay=1)) == fingerprint(replace(tune, layer_decay=1.0))
    assert fingerprint(replace(tune, seed=3)) == fingerprint(replace(tune, seed=np.int64(3)))
    assert fingerprint(replace(tune, seed=3)) == fingerprint(replace(tune, seed=3.0))
    assert replace(a_point(), k=[1, 10]) == replace(a_point(), k=(1, 10))


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, "0.2", True, None])
def test_a_number_that_is_none_is_refused_with_field_value_and_what_is_allowed(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"Tune\.learning_rate is .*; allowed: a finite number"):
        replace(a_point().features.encoder, learning_rate=wrong)


@pytest.mark.parametrize("wrong", [1.5, "3", False, None])
def test_a_count_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"Tune\.epochs is .*; allowed: a whole number"):
        replace(a_point().features.encoder, epochs=wrong)


@pytest.mark.parametrize("wrong", [0, -0.1, 1.01])
def test_a_decay_outside_its_range_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"Tune\.layer_decay is .*; allowed: in \(0, 1\]"):
        replace(a_point().features.encoder, layer_decay=wrong)


def test_encode_and_decode_are_inverse() -> None:
    point = a_point()
    assert decode(json.loads(canonical(point))) == point
    assert canonical(decode(encode(point))) == canonical(point)


@given(
    st.floats(min_value=1e-9, max_value=1, allow_nan=False),
    st.integers(0, 2**63),
    st.lists(st.integers(1, 500), min_size=1, max_size=5, unique=True),
)
def test_any_point_survives_the_canonical_form(decay: float, seed: int, k: list[int]) -> None:
    point = a_point(layer_decay=decay, seed=seed, k=tuple(k))
    again = decode(json.loads(canonical(point)))
    assert again == point
    assert fingerprint(again) == fingerprint(point)


@given(st.sampled_from(["layer_decay", "seed", "k"]), st.integers(1, 20))
def test_every_field_reaches_the_fingerprint(name: str, number: int) -> None:
    changed = {"layer_decay": number / 21, "seed": number + 1, "k": (number,)}[name]
    assert fingerprint(a_point(**{name: changed})) != fingerprint(a_point())


def test_what_decode_refuses() -> None:
    document = encode(a_point())
    with pytest.raises(ValueError, match="unknown field 'kk'"):
        decode({**document, "kk": 1})
    with pytest.raises(ValueError, match="field 'k' is missing"):
        decode({name: content for name, content in document.items() if name != "k"})
    with pytest.raises(ValueError, match="recorded as version 0"):
        decode({**document, "version": 0})
    for name in ("os.system", "stage.Stage.run", "..os.system", "json.JSONDecoder", "stage.fingerprint", "", 3):
        with pytest.raises(ValueError, match="does not name a"):
            decode({"type": name})


def test_a_class_from_elsewhere_has_no_canonical_form() -> None:
    class Foreign(Value):
        pass

    with pytest.raises(TypeError, match=r"only classes at the top of a module of stars\."):
        tag(Foreign)


def test_the_graph_is_the_nesting() -> None:
    point = a_point()
    assert [kind(stage) for stage in upstream(point)] == ["pretrain", "tune", "features", "knn"]
    assert needs(point) == {"features": point.features}
    other = a_point(seed=1)
    assert len(upstream(point, other)) == 7, "they share stage 1"


def test_recipes_keep_their_fingerprints() -> None:
    """Re-keying throws away what people have computed: when this fails, it is to be meant."""
    pinned = {
        "paper": "971bd68c47fd8ed2",
        "published": "84ed822bb6353139",
        "small": "04bcfc974a45a418",
        "rehearsal": "8e724f129726f96d",
    }
    found = {name: fingerprint(make(DATA).stage2)[:16] for name, make in RECIPES.items()}
    assert found == pinned


def _values(cls: type[Value]) -> list[type[Value]]:
    return [cls, *(found for child in cls.__subclasses__() for found in _values(child))]


def test_every_field_of_every_value_is_explained() -> None:
    for cls in _values(Value):
        if cls.__module__.startswith("stars."):
            for item in fields(cls):
                assert f"{item.name}:" in (cls.__doc__ or "") or f"{item.name}," in (cls.__doc__ or ""), (
                    f"{cls.__name__}.{item.name} is not explained in the class docstring"
                )


def test_a_value_refuses_a_field_type_without_canonical_form() -> None:
    assert EncoderShape().depth == 8
    from dataclasses import dataclass

    @dataclass(frozen=True, kw_only=True)
    class Odd(Value):
        when: dict[str, int]

    with pytest.raises(TypeError, match=r"Odd\.when: .*cannot be the type"):
        Odd(when={})
