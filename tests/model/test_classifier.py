"""The classifier and what it sees, against slow, obvious transcriptions."""

import torch
from torch import Tensor, nn

from stars.model.classifier import Classifier, JointMeans
from stars.model.dropping import Dropped, draw_dropped, kept_share
from stars.model.encoder import Block, Encoder, EncoderShape, initialise

SHAPE = EncoderShape(frames=8, joints=3, patch=2, width=4, depth=2, heads=2)


def encoder() -> Encoder:
    module = Encoder(SHAPE)
    initialise(module, torch.Generator().manual_seed(0))
    return module.double()


def batch() -> Tensor:
    x = torch.randn(5, 2, 8, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x[1, 1] = x[3, 1] = x[4] = 0
    return x


def slow_means(module: Encoder, x: Tensor, dropped: Dropped, dropout: float) -> Tensor:
    """Body by body, segment by segment."""
    found = torch.zeros(len(x), SHAPE.joints * SHAPE.width, dtype=x.dtype)
    for sample in range(len(x)):
        for body in range(2):
            row = 2 * sample + body
            tokens = module.embed(x[sample, body][None])
            for number, block in enumerate(module.blocks):
                assert isinstance(block, Block)
                factors = (1.0, 1.0) if dropped.branches is None else dropped.branches[number, :, row].tolist()
                tokens = tokens + factors[0] * block.attn(block.norm1(tokens))
                tokens = tokens + factors[1] * block.mlp(block.norm2(tokens))
            tokens = module.norm(tokens)[0]
            if dropped.kept is not None:
                tokens = torch.where(dropped.kept[row], tokens / kept_share(dropout), 0.0)
            for segment in range(SHAPE.segments):
                for joint in range(SHAPE.joints):
                    mine = slice(joint * SHAPE.width, (joint + 1) * SHAPE.width)
                    found[sample, mine] += tokens[segment * SHAPE.joints + joint].detach() / SHAPE.segments / 2
    return found


def test_joint_means_in_evaluation_with_absent_bodies() -> None:
    module, x = encoder(), batch()
    seen: list[int] = []
    module.blocks[0].register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    ours = JointMeans(module, dropout=0.3)(x)
    assert seen == [10 - 4 + 1], "one row of zeros for all absent bodies"
    torch.testing.assert_close(ours, slow_means(module, x, Dropped(), 0.3), rtol=1e-10, atol=1e-12)


def test_joint_means_with_what_is_dropped() -> None:
    module, x = encoder(), batch()
    both = draw_dropped(SHAPE, slice(0, 5), 5, drop_path=0.5, dropout=0.3, seed=0, step=0)
    assert both.branches is not None
    assert 0 < int((both.branches == 0).sum()) < both.branches.numel()
    for dropped in (both, both._replace(kept=None), both._replace(branches=None)):
        ours = JointMeans(module, dropout=0.3)(x, dropped)
        torch.testing.assert_close(ours, slow_means(module, x, dropped, 0.3), rtol=1e-10, atol=1e-12)


def test_the_classifier_is_a_perceptron_with_a_batch_norm() -> None:
    classifier = Classifier(12, 7, 3)
    assert set(classifier.state_dict()) == {
        *(f"{part}.{name}" for part in ("fc1", "bn", "fc2") for name in ("weight", "bias")),
        *("bn.running_mean", "bn.running_var", "bn.num_batches_tracked"),
    }
    classifier.start(torch.Generator().manual_seed(0))
    plain = nn.Sequential(nn.Linear(12, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3))
    plain.load_state_dict(dict(zip(plain.state_dict(), classifier.state_dict().values(), strict=True)))
    x = torch.randn(6, 12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(classifier(x), plain(x))
    torch.testing.assert_close(classifier.eval()(x), plain.eval()(x))


def test_the_start_is_drawn_from_the_generator_alone() -> None:
    classifiers = [Classifier(12, 7, 3) for _ in range(3)]
    for classifier, seed in zip(classifiers, (0, 0, 1), strict=True):
        classifier.start(torch.Generator().manual_seed(seed))
    one, same, other = (classifier.state_dict() for classifier in classifiers)
    assert all(torch.equal(one[name], same[name]) for name in one)
    for part, bound in (("fc1", (6 / 19) ** 0.5), ("fc2", (6 / 10) ** 0.5)):
        assert not torch.equal(one[f"{part}.weight"], other[f"{part}.weight"])
        assert 0.7 * bound < float(one[f"{part}.weight"].abs().max()) <= bound
        assert not one[f"{part}.bias"].any()
