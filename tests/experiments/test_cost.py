import pytest
import torch
from torch import nn

from hitl_fast.experiments.common.flops import training_flops


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10)
    )


def test_products_count_two_a_multiplication():
    forward, backward = training_flops(network(), torch.rand(2, 1, 8, 8), torch.tensor([0, 1]))
    convolution, linear = 2 * 36 * 9 * 4, 2 * 144 * 10
    assert forward == convolution + linear
    assert backward == convolution + 2 * linear  # nobody asks for the gradient of the images


def test_the_model_is_left_as_it_was():
    model = network()
    model(torch.rand(2, 1, 8, 8)).sum().backward()
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    training_flops(model, torch.rand(3, 1, 8, 8), torch.tensor([0, 1, 2]))
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert model.training


def test_a_loss_of_ones_own_counts_its_second_pass():
    def penalised(model, inputs, targets):
        inputs = inputs.clone().requires_grad_()
        loss = nn.functional.cross_entropy(model(inputs), targets)
        return loss + torch.autograd.grad(loss, inputs, create_graph=True)[0].square().sum()

    data = torch.rand(2, 1, 8, 8), torch.tensor([0, 1])
    plain, double = training_flops(network(), *data), training_flops(network(), *data, loss=penalised)
    assert sum(double) > 1.5 * sum(plain)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="one sample or more"):
        training_flops(network(), torch.rand(0, 1, 8, 8), torch.tensor([], dtype=torch.long))
