"""Networks with several inputs: each gets its channels of the volume."""

import numpy as np
import pytest
import torch
from torch import nn

from XAIExplainLib import Model, Volume, XAIError, explain, load_model
from XAIExplainLib.explaining import explain as ask


class Pair(nn.Module):
    """Two scans that meet late."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv3d(1, 3, 3, padding=1), nn.Conv3d(2, 3, 3, padding=1)
        self.head = nn.Linear(3, 2)

    def forward(self, t1, flair):
        return self.head((torch.relu(self.one(t1)) * self.two(flair).sigmoid()).mean((2, 3, 4)))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Pair().eval()


@pytest.fixture
def volume():
    return Volume(np.random.default_rng(0).normal(size=(3, 8, 9, 10)).astype(np.float32))


def wanted(network, volume):
    parts = [torch.tensor(volume.data[None, :1], requires_grad=True), torch.tensor(volume.data[None, 1:])]
    parts[1].requires_grad_()
    return torch.cat(torch.autograd.grad(network(*parts)[0, 1], parts), 1)[0].numpy()


def test_each_gets_its_channels(network, volume):
    model = Model(network, inputs=(1, 2))
    result = explain(model, volume, "gradient", 1)
    assert result.diagnostics["engine"] == "graph"
    assert np.allclose(result.channels, wanted(network, volume), atol=1e-7)


@pytest.mark.parametrize("kind", ["exported", "torchscript"])
def test_a_program_in_a_file(network, volume, tmp_path, kind):
    example = torch.zeros(1, 1, 8, 9, 10), torch.zeros(1, 2, 8, 9, 10)
    path = tmp_path / ("two.pt2" if kind == "exported" else "two.pt")
    if kind == "exported":
        torch.export.save(torch.export.export(network, example), path)
    else:
        torch.jit.trace(network, example).save(str(path))
    result = ask(load_model(path, inputs=[1, 2]), volume, "gradient", 1)
    assert np.allclose(result.channels, wanted(network, volume), atol=1e-6)
    assert result.prediction.logits == pytest.approx(network(*(torch.tensor(v) for v in (
        volume.data[None, :1], volume.data[None, 1:])))[0].detach().numpy(), rel=1e-5)  # fmt: skip


@pytest.mark.parametrize("inputs", [(), (0, 3), ("1", 2)])
def test_channels_that_are_none(network, inputs):
    with pytest.raises((XAIError), match="inputs cannot be"):
        Model(network, inputs=inputs)


def test_too_few_channels(network):
    with pytest.raises(XAIError, match="takes 3 channels, but the volume has 1"):
        explain(Model(network, inputs=(1, 2)), Volume(np.zeros((4, 4, 4))), "gradient", 0)
