"""The penalty on unimportant features, its cheaper forms, and inputs scaled by importance."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from hitl_fast.losses import FeatureImportancePenalty, FeatureWeighting, feature_importance_penalty


def network(features: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(features, 8), nn.Tanh(), nn.Linear(8, 3), nn.LogSoftmax(1)).double()


def inputs_of(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def test_is_the_mean_square_of_the_unimportant_gradient() -> None:
    model, inputs = network(), inputs_of(5, 4)
    importance = torch.rand(5, 4, dtype=torch.float64)
    penalty = feature_importance_penalty(model(inputs), inputs, importance, strength=0.7)
    slopes = []
    for row in inputs.detach():  # sample by sample, by finite differences
        steps = torch.eye(4, dtype=torch.float64) * 1e-6
        slopes.append((model(row + steps).sum(1) - model(row - steps).sum(1)) / 2e-6)
    expected = 0.7 * ((1 - importance) * torch.stack(slopes)).square().mean()
    torch.testing.assert_close(penalty, expected, rtol=1e-6, atol=0)


def test_reaches_the_parameters() -> None:
    model, inputs = network(), inputs_of(3, 4)
    importance = torch.tensor([1.0, 0.0, 0.5, 0.0], dtype=torch.float64)
    parameters = tuple(model.parameters())

    def penalty(*values: torch.Tensor) -> torch.Tensor:
        names = [name for name, _ in model.named_parameters()]
        log_probs = torch.func.functional_call(model, dict(zip(names, values, strict=True)), (inputs,))
        return feature_importance_penalty(log_probs, inputs, importance)

    assert torch.autograd.gradcheck(penalty, parameters)


def test_importance_one_costs_nothing() -> None:
    model, inputs = network(), inputs_of(3, 4)
    assert feature_importance_penalty(model(inputs), inputs, torch.ones(4)) == 0


def test_batch_and_feature_count_do_not_change_the_strength() -> None:
    inputs, importance = inputs_of(3, 4), torch.tensor([1.0, 0.0, 0.5, 0.0])

    def penalty(values: torch.Tensor, importance: torch.Tensor) -> torch.Tensor:
        return feature_importance_penalty((values**3).sum(1, keepdim=True), values, importance)

    once = penalty(inputs, importance)
    more_samples = inputs.detach().repeat(2, 1).requires_grad_()
    torch.testing.assert_close(penalty(more_samples, importance), once)
    more_features = inputs.detach().repeat(1, 2).requires_grad_()
    torch.testing.assert_close(penalty(more_features, importance.repeat(2)), once)


def test_importance_of_features_samples_and_groups() -> None:
    inputs = inputs_of(2, 3, 2)
    log_probs = (inputs**2).sum((1, 2))[:, None]
    slope = 2 * inputs.detach()
    groups = torch.tensor([[0, 0], [1, 1], [2, 0]])
    cases: list[tuple[torch.Tensor, dict[str, Any], torch.Tensor]] = []
    per_feature = torch.rand(3, 2, dtype=torch.float64)
    cases.append((per_feature, {}, per_feature.expand(2, 3, 2)))
    cases.append((per_feature[:1], {}, per_feature[:1].expand(2, 3, 2)))
    both = torch.rand(2, 3, 2, dtype=torch.float64)
    cases.append((both, {}, both))
    by_group = torch.rand(3, dtype=torch.float64)
    cases.append((by_group, {"groups": groups}, by_group[groups].expand(2, 3, 2)))
    by_both = torch.rand(2, 3, dtype=torch.float64)
    cases.append((by_both, {"groups": groups.numpy()}, by_both[:, groups]))
    for importance, options, spread in cases:
        penalty = feature_importance_penalty(log_probs, inputs, importance, **options)
        torch.testing.assert_close(penalty, ((1 - spread) * slope).square().mean())


def test_every_k_steps_costs_k_times_as_much_once() -> None:
    model, inputs = network(), inputs_of(3, 4)
    importance = torch.zeros(4)
    once = feature_importance_penalty(model(inputs), inputs, importance)
    plain = inputs.detach()
    log_probs = model(plain)
    skipped = [feature_importance_penalty(log_probs, plain, importance, every=3, step=s) for s in (1, 2, 4)]
    assert not any(skipped)
    for step in (0, 3):
        paid = feature_importance_penalty(model(inputs), inputs, importance, every=3, step=step)
        torch.testing.assert_close(paid, 3 * once)


def test_a_layer_is_penalised_in_the_place_of_the_inputs() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(1, 4, 3, stride=2, padding=1)
    head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 4 * 4, 3), nn.LogSoftmax(1))
    inputs, importance = torch.randn(2, 1, 8, 8), torch.zeros(8, 8)
    importance[:2] = 1
    activation = convolution(inputs)
    penalty = feature_importance_penalty(head(activation), inputs, importance, layer=activation)
    (slope,) = torch.autograd.grad(head(activation).sum(), activation)
    expected = slope[:, :, 1:].square().sum() / slope.numel()  # the first of four rows is important
    torch.testing.assert_close(penalty, expected)
    penalty.backward()
    assert convolution.weight.grad is not None or head[1].weight.grad is not None
    own = torch.rand(4, 4, 4)
    ours = feature_importance_penalty(head(activation), inputs, own, layer=activation)
    (slope,) = torch.autograd.grad(head(activation).sum(), activation)
    torch.testing.assert_close(ours, ((1 - own) * slope).square().mean())


def test_the_module_counts_steps_and_watches_a_layer() -> None:
    model, inputs = network(), inputs_of(3, 4).detach()
    importance = torch.zeros(8)
    module = FeatureImportancePenalty(strength=0.5, every=2, layer=model[1])
    hidden = model[1](model[0](inputs))
    expected = feature_importance_penalty(model[3](model[2](hidden)), inputs, importance, layer=hidden)
    assert module.due
    torch.testing.assert_close(module(model(inputs), inputs, importance), expected)  # 0.5 * 2
    assert not module.due
    assert module(model(inputs), inputs, importance) == 0
    with torch.no_grad():
        model(inputs)  # validation leaves nothing behind
    with pytest.raises(ValueError, match="run the model first"):
        module(torch.zeros(3, 3), inputs, importance)
    resumed = FeatureImportancePenalty(every=2)
    resumed.load_state_dict(module.state_dict())
    assert resumed.step == 2
    assert repr(module) == "FeatureImportancePenalty(strength=0.5, every=2)"
    module.remove()
    module.remove()
    assert not model[1]._forward_hooks
    leaf = inputs.clone().requires_grad_()
    torch.testing.assert_close(
        module(model(leaf), leaf, torch.zeros(4)),
        feature_importance_penalty(model(leaf), leaf, torch.zeros(4)),
    )


def test_a_watched_layer_must_give_a_tensor() -> None:
    layer = nn.LSTM(3, 2)
    FeatureImportancePenalty(layer=layer)
    with pytest.raises(ValueError, match="must give a tensor, not tuple"):
        layer(torch.randn(4, 3))


def test_no_samples_cost_nothing() -> None:
    inputs = torch.empty(0, 3, requires_grad=True)
    assert feature_importance_penalty(inputs * 2, inputs, torch.zeros(3)) == 0


def test_half_precision_is_penalised_in_float32() -> None:
    inputs = torch.randn(2, 3).bfloat16().requires_grad_()
    penalty = feature_importance_penalty(inputs * 2, inputs, torch.zeros(3))
    assert penalty.dtype == torch.float32
    assert penalty == 4


def test_a_model_stops_looking_at_a_shortcut() -> None:
    """Feature 0 tells the class while it trains and nothing afterwards; people say that it does not matter."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(2, (400,), generator=generator)
    noise = torch.randn(400, 5, generator=generator)
    signal = noise + 0.8 * (2 * label[:, None] - 1)
    train_inputs = torch.cat([3.0 * (2 * label[:, None] - 1), signal], 1)
    test_inputs = torch.cat([3.0 * torch.randn(400, 1, generator=generator), signal], 1)
    importance = torch.tensor([0.0, 1, 1, 1, 1, 1])
    accuracy = []
    for strength in (0.0, 30.0):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2), nn.LogSoftmax(1))
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        for _ in range(60):
            inputs = train_inputs.clone().requires_grad_()
            log_probs = model(inputs)
            loss = nn.functional.nll_loss(log_probs, label)
            loss = loss + feature_importance_penalty(log_probs, inputs, importance, strength)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        accuracy.append((model(test_inputs).argmax(1) == label).float().mean().item())
    assert accuracy[1] > accuracy[0] + 0.1


def test_weighting_scales_by_importance_down_to_a_floor() -> None:
    inputs = torch.full((2, 3), 4.0)
    weighting = FeatureWeighting(torch.tensor([1.0, 0.5, 0.0]), floor=0.25)
    expected = torch.tensor([4.0, 2.0, 1.0]).expand(2, 3)
    assert torch.equal(weighting(inputs), expected)
    assert weighting(inputs.half()).dtype == torch.float16
    groups = FeatureWeighting(floor=0.0, groups=torch.tensor([1, 0, 1]))
    assert torch.equal(groups(inputs, torch.tensor([0.5, 1.0])), torch.tensor([4.0, 2.0, 4.0]).expand(2, 3))
    assert torch.equal(copy.deepcopy(weighting)(inputs), expected)
    assert "importance" in weighting.state_dict()
    assert repr(weighting) == "FeatureWeighting(floor=0.25)"
    with pytest.raises(TypeError, match="inputs must hold floating-point numbers, not torch.uint8"):
        weighting(torch.ones(2, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="importance must be given"):
        FeatureWeighting()(inputs)
    with pytest.raises(ValueError, match=r"floor must lie in \[0, 1\]"):
        FeatureWeighting(floor=2.0)
    with pytest.raises(ValueError, match=r"importance\[1\] is 1.5"):
        FeatureWeighting(torch.tensor([1.0, 1.5]))


TOO_LARGE = torch.tensor([[0.0, 0, 0, 0], [0, 0, 1.5, 0], [0, 0, 0, 0]])
FLAT = torch.zeros(3, 4)
GROUPS = {"groups": torch.tensor([0, 1, 2, 0])}


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (ValueError, r"importance\[1, 2\] is 1.5: it must lie in \[0, 1\]", {"importance": TOO_LARGE}),
        (ValueError, r"importance\[0\] is nan", {"importance": torch.full((4,), math.nan)}),
        (ValueError, r"importance\[3\] is -0.5", {"importance": torch.tensor([0, 0, 0, -0.5])}),
        (ValueError, r"importance of shape \(3,\) does not broadcast", {"importance": torch.zeros(3)}),
        (ValueError, r"importance of shape \(3, 3, 4\) does not broadcast", {"importance": torch.zeros(3, 3, 4)}),
        (TypeError, "importance must hold floating-point", {"importance": torch.zeros(4).long()}),
        (TypeError, "importance must be a torch.Tensor", {"importance": 0.5}),
        (ValueError, "importance is on meta", {"importance": torch.zeros(4, device="meta")}),
        (ValueError, r"call inputs.requires_grad_\(\) before the model", {"inputs": torch.zeros(3, 4)}),
        (TypeError, "inputs must be a torch.Tensor", {"inputs": None}),
        (TypeError, "inputs must hold floating-point", {"inputs": torch.zeros(3, 4).long()}),
        (TypeError, "layer must be a torch.Tensor, not str", {"layer": "conv"}),
        (ValueError, "layer must require a gradient: run the model with it", {"layer": torch.zeros(3, 4)}),
        (ValueError, "log_probs do not depend on layer", {"layer": torch.zeros(3, 4, requires_grad=True)}),
        (ValueError, "cannot be brought to the layer's", {"layer": torch.zeros(3, 8, requires_grad=True)}),
        (ValueError, "log_probs must be made from inputs", {"log_probs": torch.zeros(3, 2)}),
        (ValueError, "log_probs do not depend on inputs", {"log_probs": torch.zeros(3, 2, requires_grad=True)}),
        (ValueError, "strength must be finite and >= 0, not -1", {"strength": -1.0}),
        (ValueError, "strength must be finite and >= 0, not inf", {"strength": math.inf}),
        (ValueError, "every must be >= 1, not 0", {"every": 0}),
        (TypeError, "every must be an int", {"every": 1.5}),
        (ValueError, "step must be >= 0", {"step": -1}),
        (TypeError, "groups must hold integers", {"groups": torch.zeros(4)}),
        (ValueError, r"groups must have one number a feature, shape \(4,\)", {"groups": torch.zeros(3).long()}),
        (ValueError, r"groups\[2\] is 2, but importance has groups 0..1", {**GROUPS, "importance": torch.zeros(2)}),
        (ValueError, r"of groups must have shape \(groups,\) or \(3, groups\)", {**GROUPS, "importance": FLAT[:2, :3]}),
    ],
)  # fmt: skip
def test_refuses_what_cannot_be(error: type[Exception], message: str, change: dict[str, Any]) -> None:
    inputs = torch.ones(3, 4, requires_grad=True)
    arguments = {"log_probs": inputs * 2, "inputs": inputs, "importance": torch.zeros(4), **change}
    with pytest.raises(error, match=message):
        feature_importance_penalty(**arguments)
