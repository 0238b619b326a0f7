import torch

from darkroom.networks.convnet import ConvNet


def test_convnet_features_lie_under_its_logits():
    net = ConvNet(channels=1, classes=4, width=4, feature_dim=6, dropout=0.5).eval()
    images = torch.rand(3, 1, 16, 16)
    features = net.features(images)
    assert features.shape == (3, 6)
    assert features.min() >= 0
    assert torch.equal(net.output(features), net(images))


def test_convnet_looks_at_each_image_alone():
    net = ConvNet(channels=1, classes=4, width=4).train()
    images = torch.rand(5, 1, 16, 16)
    assert torch.allclose(net(images)[:2], net(images[:2]), atol=1e-6)
