"""The training loop: interrupted and killed anywhere it ends with the same bits; it diverges, stops and refuses."""

import math
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from stars import runtime
from stars.encoders import EncoderStage
from stars.execute import perform, realise
from stars.fit import Diverged, Pace, fit
from stars.fit import Interrupted as Saved
from stars.outcome import StoreError
from stars.runtime import PlainRuntime, save_checkpoint
from tests.processes import dying_at_line, ended, start
from tests.training import Scripted, Tiny, equal, make_plain, output

STAGES = ("stage1", "stage2")


class Interrupted(Exception):  # noqa: N818 - an event, not a fault
    """What a test throws into a run."""


def interrupt_after(epoch: int, reported: list[int]) -> Callable[[Mapping[str, float], int], None]:
    """A report that notes the steps done, and fails at the end of an epoch (of 3 steps)."""

    def report(metrics: Mapping[str, float], step: int) -> None:
        reported.append(step)
        if step == 3 * epoch:
            raise Interrupted

    return report


def trained(tiny: Tiny, location: Path, name: str) -> dict[str, Tensor]:
    """What the stage leaves when nothing disturbs it and no checkpoint is taken."""
    stage = getattr(tiny.recipe, name)
    workplace = tiny.workplace(location)
    assert realise(stage, workplace).status == "finished"
    return output(workplace.store, stage)


@pytest.fixture(scope="module", name="undisturbed")
def undisturbed_outputs(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Tensor]]:
    torch.set_num_threads(1)
    location = tmp_path_factory.mktemp("undisturbed")
    return {name: trained(tiny, location, name) for name in STAGES}


def test_an_output_holds_all_that_training_changes(undisturbed: dict[str, dict[str, Tensor]]) -> None:
    assert {"encoder/norm.weight", "decoder/mask_token", "losses"} <= undisturbed["stage1"].keys()
    buffers = {"queue", "queue_id", "queue_ptr", "head.projector.0.running_var", "head.predictor.1.running_mean"}
    assert {f"objective/{name}" for name in buffers} <= undisturbed["stage2"].keys()
    assert [len(found["losses"]) for found in undisturbed.values()] == [9, 9]


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_run_interrupted_after_any_epoch_ends_with_the_same_bits(
    tiny: Tiny, undisturbed: dict[str, dict[str, Tensor]], tmp_path: Path, name: str, epoch: int
) -> None:
    stage: EncoderStage = getattr(tiny.recipe, name)
    workplace = tiny.workplace(tmp_path)
    if name == "stage2":
        realise(tiny.recipe.stage1, workplace)
    before: list[int] = []
    with pytest.raises(Interrupted):
        realise(stage, workplace, make_plain(on_report=interrupt_after(epoch, before)))
    assert workplace.store.outcome(stage) is None
    after: list[int] = []
    assert realise(stage, workplace, make_plain(on_report=lambda _, step: after.append(step))).status == "finished"
    assert before == [3, 6, 9][:epoch]
    assert after == [3, 6, 9][epoch - 1 :], "what was saved is not computed again"
    assert equal(output(workplace.store, stage), undisturbed[name])


def test_a_run_interrupted_in_every_epoch_ends_with_the_same_bits(
    tiny: Tiny, undisturbed: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    stage = tiny.recipe.stage1
    workplace = tiny.workplace(tmp_path)
    for epoch in (2, 3):
        with pytest.raises(Interrupted):
            realise(stage, workplace, make_plain(on_report=interrupt_after(epoch, [])))
    assert realise(stage, workplace, make_plain()).status == "finished"
    assert equal(output(workplace.store, stage), undisturbed["stage1"])


def test_a_run_that_fails_after_its_last_step_trains_no_further(
    tiny: Tiny, undisturbed: dict[str, dict[str, Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = tiny.recipe.stage1
    workplace = tiny.workplace(tmp_path)

    def fail(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr("stars.pretrain.write_curve", fail)
        with pytest.raises(Interrupted):
            realise(stage, workplace, make_plain())
    reported: list[int] = []
    realise(stage, workplace, make_plain(on_report=lambda _, step: reported.append(step)))
    assert reported == []
    assert equal(output(workplace.store, stage), undisturbed["stage1"])


@pytest.mark.parametrize(
    "part",
    [
        *("/exp_avg", "/exp_avg_sq", "/step", "module/encoder/norm.weight", "module/objective/queue"),
        *("module/objective/queue_id", "module/objective/queue_ptr", "projector.0.running_var", "losses"),
    ],
)
def test_every_part_of_a_checkpoint_counts(
    tiny: Tiny,
    undisturbed: dict[str, dict[str, Tensor]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
) -> None:
    """Equal bits above say something only if a run resumed from anything else ends elsewhere."""
    stage = tiny.recipe.stage2
    workplace = tiny.workplace(tmp_path)
    realise(tiny.recipe.stage1, workplace)
    with pytest.raises(Interrupted):
        realise(stage, workplace, make_plain(on_report=interrupt_after(3, [])))

    def damaged(path: Path) -> dict[str, Tensor]:
        state = load_file(path)
        changed = {name: tensor + 1 for name, tensor in state.items() if name.endswith(part)}
        assert changed
        return state | changed

    monkeypatch.setattr(runtime, "load_file", damaged)
    realise(stage, workplace, make_plain())
    assert not equal(output(workplace.store, stage), undisturbed["stage2"])


def live(tiny: Tiny, location: Path, line: int) -> None:
    """A life of a run, which ends at a line of the training loop or of the writing of a checkpoint."""
    with dying_at_line(line, (fit.__code__, save_checkpoint.__code__)):
        realise(tiny.recipe.stage2, tiny.workplace(location), make_plain())


def test_a_run_killed_again_and_again_ends_with_the_same_bits(
    tiny: Tiny, undisturbed: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    stage = tiny.recipe.stage2
    workplace = tiny.workplace(tmp_path)
    realise(tiny.recipe.stage1, workplace)
    saved: list[int] = []
    while workplace.store.outcome(stage) is None:
        saved.append(max(map(saved_step, workplace.store.checkpoints(stage)), default=0))
        # Each life lasts a little longer, so that it dies elsewhere in the loop and at last gets to the end.
        status = ended(start(live, tiny, tmp_path, line=40 + 7 * len(saved)))
        assert status in (0, -signal.SIGKILL)
    assert len(saved) > 3, "killed at least three times"
    assert {0, 3, 6} <= set(saved), "begun afresh, and from checkpoints"
    assert equal(output(workplace.store, stage), undisturbed["stage2"])


def saved_step(path: Path) -> int:
    """How far a checkpoint is."""
    return int(path.name.partition("-")[0])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("step", [0, 2, 4, 8])
def test_the_first_loss_that_is_not_finite_is_named(step: int, value: float) -> None:
    losses = [1.0] * 9
    losses[step] = value
    with pytest.raises(Diverged, match=rf"^loss is {value} at step {step}$") as raised:
        fit(Scripted([*losses[: step + 1], *[math.nan] * (8 - step)]), PlainRuntime())
    assert raised.value.step == step


@dataclass
class SteepEnd(Scripted):
    """The last loss is 1, and its gradient is no number."""

    def loss(self, step: int) -> Tensor:
        return super().loss(step) + (0 * self.weight).sqrt().sum() if step == self.num_steps - 1 else super().loss(step)


def test_what_the_last_step_does_to_the_weights_is_seen() -> None:
    task = SteepEnd([1.0] * 9)
    with pytest.raises(Diverged, match=r"^weight is not finite after the last step") as raised:
        fit(task, PlainRuntime())
    assert raised.value.step == 8


def test_a_large_loss_is_a_number() -> None:
    losses = [1e300] * 9
    assert fit(Scripted(losses), PlainRuntime()) == losses


def test_progress_is_the_mean_of_every_epoch() -> None:
    reported: list[tuple[float, int]] = []
    fit(
        Scripted([float(step) for step in range(8)], num_steps=8),
        PlainRuntime(on_report=lambda metrics, step: reported.append((metrics["loss"], step)), look_seconds=math.inf),
    )
    assert reported == [(1.0, 3), (4.0, 6), (6.5, 8)], "the last epoch may be cut short"


@dataclass(frozen=True, kw_only=True)
class Remembering(PlainRuntime):
    """Keeps checkpoints in memory."""

    kept: list[tuple[dict[str, Tensor], int]] = field(default_factory=list)
    checkpoint_seconds: float = 0.0
    look_seconds: float = math.inf

    def save(self, state: Mapping[str, Tensor], step: int) -> None:
        self.kept.append(({name: tensor.clone() for name, tensor in state.items()}, step))

    def latest(self, until: int) -> tuple[dict[str, Tensor], int] | None:
        return self.kept[-1] if self.kept else None


def test_steps_are_counted_from_the_start_after_a_resumption() -> None:
    first = Remembering(on_report=interrupt_after(2, []))
    with pytest.raises(Interrupted):
        fit(Scripted([1.0] * 9), first)
    assert [step for _, step in first.kept] == [3]
    with pytest.raises(Diverged, match=r"at step 7$"):
        fit(Scripted([math.nan] * 3 + [1.0] * 4 + [math.nan] * 2), Remembering(kept=first.kept))


def test_divergence_is_an_outcome(tiny: Tiny, tmp_path: Path) -> None:
    # The first epoch warms up from a rate of 0: step 1 is the first that moves the weights, step 2 the first to see it.
    stage = replace(tiny.recipe.stage1, learning_rate=1e25)
    workplace = tiny.workplace(tmp_path)
    outcome = realise(stage, workplace)
    assert (outcome.status, outcome.horizon, outcome.files) == ("diverged", 2, ())
    assert "at step 2" in outcome.reason
    reader = replace(tiny.recipe.stage2, start=stage)
    assert realise(reader, workplace).value == outcome.value, "its reader is not run"
    with pytest.raises(StoreError, match="is diverged"):
        workplace.store.output(stage)


def test_an_interrupted_run_has_no_outcome_and_goes_on_from_where_it_was(
    tiny: Tiny, undisturbed: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    stage = tiny.recipe.stage1
    workplace = tiny.workplace(tmp_path)
    asked: list[None] = []

    def stop() -> bool:
        asked.append(None)
        return len(asked) == 2

    with pytest.raises(Saved, match="after 6 steps"):
        realise(tiny.recipe.stage2, workplace, make_plain(stop=stop, checkpoint_seconds=math.inf))
    assert workplace.store.outcome(stage) is None
    reported: list[int] = []
    finished = realise(stage, workplace, make_plain(on_report=lambda _, step: reported.append(step)))
    assert finished.status == "finished"
    assert reported == [9], "what had been done is saved"
    assert equal(output(workplace.store, stage), undisturbed["stage1"])


@pytest.mark.parametrize("name", STAGES)
def test_what_a_horizon_cuts_is_a_value_of_its_own_from_which_the_whole_goes_on(
    tiny: Tiny, undisturbed: dict[str, dict[str, Tensor]], tmp_path: Path, name: str
) -> None:
    whole: EncoderStage = getattr(tiny.recipe, name)
    workplace = tiny.workplace(tmp_path)
    realise(tiny.recipe.stage1, workplace)
    beginnings = [replace(whole, seed=1, horizon=1), replace(whole, seed=1, horizon=2)]  # type: ignore[call-arg]
    for beginning, steps in zip(beginnings, ([3], [6]), strict=True):
        reported: list[int] = []
        make = make_plain(on_report=lambda _, step, to=reported: to.append(step), checkpoint_seconds=math.inf)
        assert realise(beginning, workplace, make).status == "finished"
        assert reported == steps, "the second goes on from the end of the first"
        assert len(output(workplace.store, beginning)["losses"]) == steps[-1]
    whole = replace(whole, seed=1)  # type: ignore[call-arg]
    assert workplace.store.outcome(whole) is None
    reported = []
    realise(whole, workplace, make_plain(on_report=lambda _, step: reported.append(step)))
    assert reported == [9]
    calm = tiny.workplace(tmp_path / "calm")
    realise(whole, calm)
    assert equal(output(workplace.store, whole), output(calm.store, whole))


def test_a_beginning_never_goes_on_from_beyond_its_horizon(tiny: Tiny, tmp_path: Path) -> None:
    workplace = tiny.workplace(tmp_path)
    with pytest.raises(Interrupted):
        realise(tiny.recipe.stage1, workplace, make_plain(on_report=interrupt_after(3, [])))
    beginning = replace(tiny.recipe.stage1, horizon=1)
    realise(beginning, workplace)
    assert len(output(workplace.store, beginning)["losses"]) == 3


def test_nobody_is_asked_to_stop_a_run_that_is_done() -> None:
    losses = [1.0] * 9
    asked: list[None] = []

    def stop() -> bool:
        asked.append(None)
        return len(asked) > 2

    assert fit(Scripted(losses), PlainRuntime(stop=stop, look_seconds=math.inf)) == losses
    with pytest.raises(Saved, match="after 3 steps"):
        fit(Scripted(losses), PlainRuntime(stop=stop, look_seconds=math.inf))


def test_the_loop_looks_up_every_so_often_within_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes 0.25 s: once the first has shown that, the loop looks up every fourth, and where an epoch ends."""
    now = [0.0]
    monkeypatch.setattr("stars.fit.time.monotonic", lambda: now[0])
    pace = Pace(steps_per_epoch=10, runtime=PlainRuntime(), start=0)
    seen = []
    for done in range(1, 21):
        now[0] += 0.25
        if pace.due(done):
            seen.append(done)
            pace.looked(done)
            # A report that waits is no training.
            now[0] += 5
            pace.goes_on()
    assert pace.seconds == 5.0
    assert seen == [1, 5, 9, 10, 14, 18, 20]


def test_workers_look_up_with_the_slowest() -> None:
    class Slow(PlainRuntime):
        def gather(self, tensor: Tensor) -> Tensor:
            return torch.cat([tensor, torch.tensor([0.5])])

    pace = Pace(steps_per_epoch=100, runtime=Slow(), start=0)
    assert pace.due(1)
    pace.looked(1)
    pace.goes_on()
    assert [done for done in range(2, 5) if pace.due(done)] == [3, 4]


@dataclass(frozen=True, kw_only=True)
class Third(PlainRuntime):
    """The first of three workers, of whom no step is asked."""

    @property
    def world_size(self) -> int:
        return 3


@pytest.mark.parametrize("name", STAGES)
def test_batches_that_cannot_be_are_refused_by_name(tiny: Tiny, tmp_path: Path, name: str) -> None:
    stage = getattr(tiny.recipe, name)
    workplace = tiny.workplace(tmp_path)
    realise(tiny.recipe.stage1, workplace)
    large = replace(stage, batch_size=25)
    with pytest.raises(ValueError, match=r"batch_size is 25; allowed: at most 24, the number of training samples"):
        realise(large, workplace)
    uneven = replace(stage, batch_size=10)
    attempt = workplace.store.begin(uneven)
    with pytest.raises(ValueError, match=r"batch_size is 10; allowed: a multiple of the number of workers, 3"):
        perform(attempt, workplace, Third())
    assert [workplace.store.outcome(refused) for refused in (large, uneven)] == [None, None]
