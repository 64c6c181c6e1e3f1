"""`python -m stars import-checkpoint | export-checkpoint`, as they are typed; and there and back again."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import stars.__main__
from stars.checkpoints.layouts import read_weights
from stars.execute import plain, realise
from stars.imported import Imported, find, imported, keep
from stars.outcome import StoreError
from stars.probes.features import Features, read_features
from stars.recipes import begun_with
from stars.stage import decode, encode, fingerprint, kind
from stars.store import Store
from tests.checkpoints.files import SHAPE, mamp_file, saved, stage1, stage2
from tests.stores import snapshot
from tests.training import Tiny

Capture = pytest.CaptureFixture[str]


@pytest.fixture(name="store")
def own(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def run(monkeypatch: pytest.MonkeyPatch, *typed: str | Path) -> int:
    """The exit status."""
    monkeypatch.setattr(sys, "argv", ["stars", *map(str, typed)])
    try:
        stars.__main__.main()
    except SystemExit as ending:
        return int(ending.code or 0)
    return 0


def stage2_file(path: Path, *, teacher: bool = False) -> Path:
    tensors = stage2()
    if teacher:
        tensors |= {k.replace("_student", "_teacher"): v * 2 for k, v in tensors.items() if k.startswith("encoder_")}
    path.write_bytes(saved(tensors))
    return path


def test_import_tells_what_it_took_and_changes_nothing_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    file = mamp_file(tmp_path / "mamp.pth")
    assert run(monkeypatch, "import-checkpoint", file) == 0
    shown = capsys.readouterr().out
    stage = imported("mamp", read_weights(file))
    for words in (
        "encoder: 16 frames of 25 joints, patch 4, width 16, 2 blocks of 2 heads (the file), MLP ratio 4",
        "decoder: width 8, 1 blocks",
        f"mamp: fingerprint {fingerprint(stage)}",
        "epoch, scaler, args",
    ):
        assert words in shown
    assert store.finished(stage)
    before = snapshot(store.location)
    assert run(monkeypatch, "import-checkpoint", file) == 0
    assert "was in" in capsys.readouterr().out
    assert {k: v for k, v in snapshot(store.location).items() if "probe/" not in k} == before
    assert sorted(path.name for path in store.output(stage).iterdir()) == ["decoder.safetensors", "encoder.safetensors"]


def test_import_refuses_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    file = mamp_file(tmp_path / "mamp.pth")
    for more, words in (
        (["--name", "a b"], "Imported.name is 'a b'; allowed: letters"),
        (["--name", "deadbeef"], "not hexadecimal digits alone"),
        (["--heads", "3"], "allowed: a multiple of heads (3)"),
    ):
        assert run(monkeypatch, "import-checkpoint", file, *more) == 2
        assert words in capsys.readouterr().err
    assert run(monkeypatch, "import-checkpoint", tmp_path) == 2
    assert "is a folder" in capsys.readouterr().err
    assert run(monkeypatch, "import-checkpoint", file) == 0
    other = mamp_file(tmp_path / "other.pth", tensors={k: v * 2 for k, v in stage1().items()})
    assert run(monkeypatch, "import-checkpoint", other, "--name", "mamp") == 2
    assert "--name is mamp, which is " in capsys.readouterr().err


def test_it_cannot_be_computed_and_says_how_it_comes(tiny: Tiny, store: Store, tmp_path: Path) -> None:
    stage = imported("elsewhere", read_weights(mamp_file(tmp_path / "a.pth")))
    assert decode(json.loads(json.dumps(encode(stage)))) == stage
    with pytest.raises(StoreError, match=r"the imported encoder elsewhere .* import-checkpoint FILE --name NAME"):
        realise(stage, tiny.workplace(store.location), plain)
    with pytest.raises(ValueError, match=r"Imported\.content is 'x'; allowed: 64"):
        Imported(name="a", content="x", encoder=SHAPE, layout="bare")


def test_its_features_are_those_of_the_tensors(
    tiny: Tiny, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage that reads an imported encoder gives what it gives for a trained one with the same weights."""
    trained = tiny.recipe.untrained(0)
    workplace = tiny.workplace(store.location)
    realise(trained, workplace)
    weights = load_file(store.output(trained) / "encoder.safetensors")
    (tmp_path / "a.pt").write_bytes(saved({f"encoder_student.{k}": v for k, v in weights.items()}))
    assert run(monkeypatch, "import-checkpoint", tmp_path / "a.pt", "--name", "same", "--heads", "2") == 0
    features = [Features(encoder=e, data=tiny.data, crop=0.9) for e in (trained, find(store, "same"))]
    for stage in features:
        realise(stage, workplace)
    one, other = (read_features(store.output(stage), "test") for stage in features)
    assert torch.equal(one.features, other.features)


@pytest.mark.parametrize("layout", ["mamp", "stars", "teacher", "safetensors"])
def test_there_and_back_again_is_the_same_to_the_bit(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    file = tmp_path / "first.pt"
    if layout in ("mamp", "safetensors"):
        mamp_file(file)
    else:
        stage2_file(file, teacher=layout == "teacher")
    chosen = "stars" if layout == "teacher" else layout
    assert run(monkeypatch, "import-checkpoint", file, "--heads", "2") == 0
    out = tmp_path / "out" / "second"
    assert run(monkeypatch, "export-checkpoint", "first", "--format", chosen, "--out", out) == 0
    first, second = read_weights(file, heads=2), read_weights(out, heads=None if chosen != "stars" else 2)
    assert (first.content(), first.shape) == (second.content(), second.shape)
    if chosen != "safetensors":
        before, after = (torch.load(path, weights_only=False) for path in (file, out))
        before, after = before.get("model", before), after.get("model", after)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert all(before[name].dtype == after[name].dtype for name in before)
    assert run(monkeypatch, "export-checkpoint", "first", "--format", chosen, "--out", out) == 2
    assert "exists; allowed: " in capsys.readouterr().err


def test_what_was_trained_here_is_exported_in_every_layout(
    tiny: Tiny, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    workplace = replace(tiny.workplace(store.location), recipe="tiny")
    realise(tiny.recipe.stage2, workplace)
    for stage, layout, parts in (
        (tiny.recipe.stage1, "mamp", ["encoder", "decoder"]),
        (tiny.recipe.stage2, "stars", ["encoder", "objective"]),
        (tiny.recipe.stage2, "mamp", ["encoder"]),
        (tiny.recipe.stage2, "safetensors", ["encoder", "objective"]),
    ):
        out = tmp_path / f"{kind(stage)}-{layout}"
        assert run(monkeypatch, "export-checkpoint", fingerprint(stage)[:12], "--format", layout, "--out", out) == 0
        found = read_weights(out, heads=2)
        assert list(found.parts()) == parts
        for part, tensors in found.parts().items():
            left = load_file(store.output(stage) / f"{part}.safetensors")
            assert tensors.keys() == left.keys()
            assert all(torch.equal(tensors[name], left[name]) for name in left)
    assert "encoder 30 tensors, objective 16 tensors" in capsys.readouterr().out
    readme = (tmp_path / "README.md").read_text()
    for words in ("contrastive tuning (STARS) after pretraining (MAMP)", "tiny", "Unknown: nothing is recorded"):
        assert words in readme
    recorded = json.loads(readme.split("```json\n")[1].split("```")[0])
    assert decode(recorded) == tiny.recipe.stage2


def test_an_encoder_is_found_by_name_or_fingerprint(tiny: Tiny, store: Store, tmp_path: Path) -> None:
    weights = read_weights(mamp_file(tmp_path / "a.pth"))
    stage = imported("a", weights)
    assert keep(store, stage, weights, tmp_path / "a.pth")
    assert not keep(store, stage, weights, tmp_path / "a.pth")
    assert find(store, "a") == find(store, fingerprint(stage)[:8]) == stage
    for text in ("b", "00000000", fingerprint(stage)[:7]):
        with pytest.raises(ValueError, match=r"is no encoder in .*; allowed: a name given to"):
            find(store, text)
    others = read_weights(stage2_file(tmp_path / "b.pt"), heads=2)
    keep(store, imported("a", others), others, tmp_path / "b.pt")
    with pytest.raises(ValueError, match="'a' means several encoders"):
        find(store, "a")


def test_a_recipe_that_begins_with_it_takes_over_its_sizes(tiny: Tiny, tmp_path: Path) -> None:
    stage = imported("a", read_weights(mamp_file(tmp_path / "a.pth")))
    longer = replace(stage, encoder=replace(SHAPE, frames=32))
    recipe = begun_with(tiny.recipe, longer)
    assert recipe.pretrain(3) == recipe.tune(3).start == longer
    assert recipe.tune(3).view.frames == recipe.untrained(3).encoder.frames == 32
    assert recipe.context()["start"] == f"imported {fingerprint(longer)[:16]}"
    assert "start" not in tiny.recipe.context()
    with pytest.raises(ValueError, match="--start has an encoder of 17 joints; allowed: the data's 25"):
        begun_with(tiny.recipe, replace(stage, encoder=replace(SHAPE, joints=17)))
    with pytest.raises(ValueError, match="--reseed-pretraining with --start"):
        begun_with(replace(tiny.recipe, reseed_pretraining=True), stage)
