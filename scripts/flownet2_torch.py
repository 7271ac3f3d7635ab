"""FlowNet2 by `torch.nn`, to compare with; `make_golden_flow.py` runs it.

Names and shapes are those of the port `NVIDIA/flownet2-pytorch`, whose operators for
CUDA are replaced by those of `torch.nn.functional`. Arrays are [1, channels, height,
width].
"""

import torch
import torch.nn.functional as F
from torch import nn

from scripts.liteflownet_torch import correlate
from scripts.liteflownet_torch import warp as warp_with


class FlowNet2(nn.Module):
    """The whole network; `width` is 64 in the port."""

    def __init__(self, width: int = 64):
        super().__init__()
        self.flownetc = FlowNetC(width)
        self.flownets_1 = FlowNetS(width)
        self.flownets_2 = FlowNetS(width)
        self.flownets_d = FlowNetSD(width)
        self.flownetfusion = FlowNetFusion(width)

    def forward(self, frame, next_frame):
        """Returns the flow between two uint8 RGB frames, float32 [h, w, 2]."""
        pair = torch.stack([torch.from_numpy(x) for x in (frame, next_frame)])
        inputs = pair.permute(3, 0, 1, 2)[None].float()
        inputs = (inputs - inputs.mean((2, 3, 4), keepdim=True)) / 255.0
        one, two = inputs[:, :, 0], inputs[:, :, 1]
        x = torch.cat((one, two), 1)

        flow = enlarge(self.flownetc(one, two) * 20, "bilinear")
        warped = warp(two, flow)
        error = norm(one - warped)
        flow = self.flownets_1(torch.cat((x, warped, flow / 20, error), 1))
        flow = enlarge(flow * 20, "bilinear")
        warped = warp(two, flow)
        error = norm(one - warped)
        flow = self.flownets_2(torch.cat((x, warped, flow / 20, error), 1))
        css = enlarge(flow * 20, "nearest")
        css_error = norm(one - warp(two, css))

        sd = enlarge(self.flownets_d(x) / 20, "nearest")
        sd_error = norm(one - warp(two, sd))
        x = torch.cat((one, sd, css, norm(sd), norm(css), sd_error, css_error), 1)
        return self.flownetfusion(x)[0].permute(1, 2, 0).numpy()


class FlowNetC(nn.Module):
    """Correlations of features."""

    def __init__(self, w):
        super().__init__()
        self.conv1 = conv(3, w, 7, 2)
        self.conv2 = conv(w, 2 * w, 5, 2)
        self.conv3 = conv(2 * w, 4 * w, 5, 2)
        self.conv_redir = conv(4 * w, w // 2, 1)
        self.conv3_1 = conv(w // 2 + 441, 4 * w)
        add_contraction(self, w)
        add_refinement(self, w, 6, 2, [16, 8, 8, 4, 2])

    def forward(self, one, two):
        """Returns the flow of a quarter of the size."""
        conv2 = self.conv2(self.conv1(one))
        one, two = self.conv3(conv2), self.conv3(self.conv2(self.conv1(two)))
        found = F.leaky_relu(correlate(one, two, 10, 2), 0.1)
        conv3 = self.conv3_1(torch.cat((self.conv_redir(one), found), 1))
        return refine(self, [*contract(self, conv3), conv3, conv2])


class FlowNetS(nn.Module):
    """Convolutions of images, the warped image, the flow and the error."""

    def __init__(self, w):
        super().__init__()
        self.conv1 = conv(12, w, 7, 2)
        self.conv2 = conv(w, 2 * w, 5, 2)
        self.conv3 = conv(2 * w, 4 * w, 5, 2)
        self.conv3_1 = conv(4 * w, 4 * w)
        add_contraction(self, w)
        add_refinement(self, w, 6, 2, [16, 8, 8, 4, 2], flow_bias=False)

    def forward(self, x):
        """Returns the flow of a quarter of the size."""
        conv2 = self.conv2(self.conv1(x))
        conv3 = self.conv3_1(self.conv3(conv2))
        return refine(self, [*contract(self, conv3), conv3, conv2])


class FlowNetSD(nn.Module):
    """Small convolutions, for small displacements."""

    def __init__(self, w):
        super().__init__()
        self.conv0 = conv(6, w)
        self.conv1 = conv(w, w, stride=2)
        self.conv1_1 = conv(w, 2 * w)
        self.conv2 = conv(2 * w, 2 * w, stride=2)
        self.conv2_1 = conv(2 * w, 2 * w)
        self.conv3 = conv(2 * w, 4 * w, stride=2)
        self.conv3_1 = conv(4 * w, 4 * w)
        add_contraction(self, w)
        add_refinement(self, w, 6, 2, [16, 8, 8, 4, 2], inter=True)

    def forward(self, x):
        """Returns the flow of a quarter of the size."""
        conv2 = self.conv2_1(self.conv2(self.conv1_1(self.conv1(self.conv0(x)))))
        conv3 = self.conv3_1(self.conv3(conv2))
        return refine(self, [*contract(self, conv3), conv3, conv2])


class FlowNetFusion(nn.Module):
    """Merges two flows."""

    def __init__(self, w):
        super().__init__()
        self.conv0 = conv(11, w)
        self.conv1 = conv(w, w, stride=2)
        self.conv1_1 = conv(w, 2 * w)
        self.conv2 = conv(2 * w, 2 * w, stride=2)
        self.conv2_1 = conv(2 * w, 2 * w)
        add_refinement(self, w, 2, 0, [2, 2, 1], inter=True)

    def forward(self, x):
        """Returns the flow of the full size."""
        conv0 = self.conv0(x)
        conv1 = self.conv1_1(self.conv1(conv0))
        return refine(self, [self.conv2_1(self.conv2(conv1)), conv1, conv0])


def conv(inputs, outputs, size=3, stride=1):
    """Makes a convolution with a leaky ReLU."""
    layer = nn.Conv2d(inputs, outputs, size, stride, size // 2)
    return nn.Sequential(layer, nn.LeakyReLU(0.1))


def add_contraction(net, w):
    """Adds the convolutions of levels 4 to 6."""
    for level, inputs, outputs in ((4, 4, 8), (5, 8, 8), (6, 8, 16)):
        setattr(net, f"conv{level}", conv(inputs * w, outputs * w, stride=2))
        setattr(net, f"conv{level}_1", conv(outputs * w, outputs * w))


def contract(net, x):
    """Returns levels 6, 5 and 4."""
    found = []
    for level in (4, 5, 6):
        x = getattr(net, f"conv{level}_1")(getattr(net, f"conv{level}")(x))
        found.insert(0, x)
    return found


def add_refinement(net, w, top, bottom, skips, *, inter=False, flow_bias=True):
    """Adds the layers that bring flow from level `top` to level `bottom`."""
    net.top, net.inter = top, inter
    channels = skips[0] * w
    setattr(net, f"predict_flow{top}", nn.Conv2d(channels, 2, 3, padding=1))
    for level, skip in zip(range(top - 1, bottom - 1, -1), skips[1:], strict=True):
        up = {5: 8 * w, 4: 4 * w, 3: 2 * w, 2: w, 1: w // 2, 0: w // 4}[level]
        layer = nn.ConvTranspose2d(channels, up, 4, 2, 1)
        layer = nn.Sequential(layer, nn.LeakyReLU(0.1))
        setattr(net, f"deconv{level}", layer)
        layer = nn.ConvTranspose2d(2, 2, 4, 2, 1, bias=flow_bias)
        setattr(net, f"upsampled_flow{level + 1}_to_{level}", layer)
        channels = skip * w + up + 2
        last = channels
        if inter:
            layer = nn.Conv2d(channels, up, 3, padding=1)
            setattr(net, f"inter_conv{level}", nn.Sequential(layer))
            last = up
        setattr(net, f"predict_flow{level}", nn.Conv2d(last, 2, 3, padding=1))


def refine(net, levels):
    """Returns the flow of the last level."""
    x, number = levels[0], net.top
    flow = getattr(net, f"predict_flow{number}")(x)
    for skip in levels[1:]:
        flow = getattr(net, f"upsampled_flow{number}_to_{number - 1}")(flow)
        number -= 1
        x = torch.cat((skip, getattr(net, f"deconv{number}")(x), flow), 1)
        smooth = getattr(net, f"inter_conv{number}")(x) if net.inter else x
        flow = getattr(net, f"predict_flow{number}")(smooth)
    return flow


def enlarge(flow, mode):
    """Enlarges flow fourfold."""
    return F.interpolate(flow, scale_factor=4, mode=mode)


def warp(x, flow):
    """Returns values where the flow leads; beyond the border, those at the border."""
    return warp_with(x, flow, "border")


def norm(x):
    """Returns the length of each pixel's vector."""
    return x.norm(dim=1, keepdim=True)
