"""LiteFlowNet by `torch.nn.functional`, to compare with; `make_golden_flow.py` runs it.

Names and shapes are those of the port `sniklaus/pytorch-liteflownet`. Arrays are
[1, channels, height, width].
"""

import torch
import torch.nn.functional as F

MEANS = (0.411618, 0.434631, 0.454253), (0.410782, 0.433645, 0.452793)
FEATURES = {"One": (32, 1), "Two": (32, 3), "Thr": (64, 2), "Fou": (96, 2),
            "Fiv": (128, 1), "Six": (192, 1)}  # fmt: skip
WIDTHS = dict(zip(range(1, 7), (32, 32, 64, 96, 128, 192), strict=True))
LAST = {2: 7, 3: 5, 4: 5, 5: 3, 6: 3}


def shapes() -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of the port's weights."""
    found = {}

    def add(name, *shape):
        found[f"{name}.weight"] = shape
        found[f"{name}.bias"] = shape[:1]

    def add_chain(name, inputs, *layers):
        for i, (outputs, size) in enumerate(layers):
            add(f"{name}.moduleMain.{2 * i}", outputs, inputs, size, size)
            inputs = outputs

    inputs = 3
    for name, (width, count) in FEATURES.items():
        for i in range(count):
            size = 7 if name == "One" else 3
            add(f"moduleFeatures.module{name}.{2 * i}", width, inputs, size, size)
            inputs = width
    for level, last in LAST.items():
        width = 64 if level == 2 else WIDTHS[level]
        decoder = (128, 3), (64, 3), (32, 3), (2, last)
        for part, channels in (("Matching", 49), ("Subpixel", 2 * width + 2)):
            name = f"module{part}.{level - 2}"
            add_chain(name, channels, *decoder)
            if level == 2:
                add(f"{name}.moduleFeat.0", 64, 32, 1, 1)
        if level < 6:
            found[f"moduleMatching.{level - 2}.moduleUpflow.weight"] = 2, 1, 4, 4
        if level < 4:
            found[f"moduleMatching.{level - 2}.moduleUpcorr.weight"] = 49, 1, 4, 4
        name = f"moduleRegularization.{level - 2}"
        widths = [(n, 3) for n in (128, 128, 64, 64, 32, 32)]
        add_chain(name, 3 + (128 if level < 5 else WIDTHS[level]), *widths)
        area = last**2
        if level < 5:
            add(f"{name}.moduleFeat.0", 128, WIDTHS[level], 1, 1)
            add(f"{name}.moduleDist.0", area, 32, last, 1)
            add(f"{name}.moduleDist.1", area, area, 1, last)
        else:
            add(f"{name}.moduleDist.0", area, 32, last, last)
        add(f"{name}.moduleScaleX", 1, area, 1, 1)
        add(f"{name}.moduleScaleY", 1, area, 1, 1)
    return found


class LiteFlowNet:
    """The network with its weights, tensors by name."""

    def __init__(self, weights: dict[str, torch.Tensor]):
        self.weights = weights

    def __call__(self, first, second):
        """Returns the flow between two uint8 RGB frames, float32 [h, w, 2]."""
        (pixels_one, one), (pixels_two, two) = (
            self.encode(frame, mean)
            for frame, mean in zip((first, second), MEANS, strict=True)
        )
        flow = None
        for level in (6, 5, 4, 3, 2):
            flow = self.match(level, one[level], two[level], flow)
            flow = self.refine(level, one[level], two[level], flow)
            images = pixels_one[level], pixels_two[level]
            flow = self.regularise(level, *images, one[level], flow)
        flow = 20 * F.interpolate(flow, scale_factor=2, mode="bilinear")
        return flow[0].permute(1, 2, 0).numpy()

    def encode(self, frame, mean):
        """Returns a frame's pixels and features by level."""
        x = torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1)[None]
        x = x.float() / 255 - torch.tensor(mean).view(1, 3, 1, 1)
        pixels, features = {1: x}, {}
        for level, (name, (_, count)) in enumerate(FEATURES.items(), 1):
            for i in range(count):
                stride = 2 if level > 1 and i == 0 else 1
                name_of_layer = f"moduleFeatures.module{name}.{2 * i}"
                x = F.leaky_relu(self.conv(x, name_of_layer, stride), 0.1)
            features[level] = x
            if level > 1:
                size = x.shape[2:]
                pixels[level] = F.interpolate(
                    pixels[level - 1], size=size, mode="bilinear"
                )
        return pixels, features

    def match(self, level, first, second, flow):
        """Adds what correlations tell."""
        name = f"moduleMatching.{level - 2}"
        first, second = self.widen(level, name, first), self.widen(level, name, second)
        if flow is not None:
            flow = self.enlarge(flow, f"{name}.moduleUpflow")
            second = warp(second, flow * 20 / 2 ** (level - 1))
        step = 1 if level >= 4 else 2
        x = correlate(first, second, 3, step)[..., ::step, ::step]
        x = F.leaky_relu(x, 0.1)
        if step == 2:
            x = self.enlarge(x, f"{name}.moduleUpcorr")
        change = self.chain(x, name, 4, ends_linearly=True)
        return change if flow is None else flow + change

    def refine(self, level, first, second, flow):
        """Adds what features tell."""
        name = f"moduleSubpixel.{level - 2}"
        first, second = self.widen(level, name, first), self.widen(level, name, second)
        second = warp(second, flow * 20 / 2 ** (level - 1))
        x = torch.cat([first, second, flow], 1)
        return flow + self.chain(x, name, 4, ends_linearly=True)

    def regularise(self, level, first, second, features, flow):
        """Averages over neighbours."""
        name, size = f"moduleRegularization.{level - 2}", LAST[level]
        error = first - warp(second, flow * 20 / 2 ** (level - 1))
        error = error.pow(2).sum(1, True).sqrt()
        if level < 5:
            features = F.leaky_relu(self.conv(features, f"{name}.moduleFeat.0"), 0.1)
        x = torch.cat([error, flow - flow.mean((2, 3), True), features], 1)
        x = self.chain(x, name, 6)
        for i in range(2 if level < 5 else 1):
            x = self.conv(x, f"{name}.moduleDist.{i}")
        x = -(x**2)
        x = (x - x.max(1, True)[0]).exp()
        parts = []
        for i, axis in enumerate("XY"):
            near = F.unfold(flow[:, i : i + 1], size, padding=size // 2).view_as(x)
            scaled = self.conv(x * near, f"{name}.moduleScale{axis}")
            parts.append(scaled / x.sum(1, True))
        return torch.cat(parts, 1)

    def conv(self, x, name, stride=1):
        """Applies a convolution."""
        kernel, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.conv2d(x, kernel, bias, stride, [n // 2 for n in kernel.shape[2:]])

    def chain(self, x, name, count, *, ends_linearly=False):
        """Applies convolutions with leaky ReLUs."""
        for i in range(count):
            x = self.conv(x, f"{name}.moduleMain.{2 * i}")
            if i < count - 1 or not ends_linearly:
                x = F.leaky_relu(x, 0.1)
        return x

    def widen(self, level, name, x):
        """Gives level 2 more channels."""
        if level != 2:
            return x
        return F.leaky_relu(self.conv(x, f"{name}.moduleFeat.0"), 0.1)

    def enlarge(self, x, name):
        """Doubles height and width, each channel alone."""
        kernel = self.weights[f"{name}.weight"]
        return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


def warp(x, flow, padding="zeros"):
    """Returns values where the flow leads; `padding` is `grid_sample`'s."""
    height, width = x.shape[2:]
    y, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    right = 2 * (column + flow[:, 0]) / (width - 1) - 1
    down = 2 * (y + flow[:, 1]) / (height - 1) - 1
    grid = torch.stack([right, down], -1)
    return F.grid_sample(x, grid, padding_mode=padding, align_corners=True)


def correlate(first, second, reach, step=1):
    """Returns mean products with pixels at up to `reach` steps in each direction."""
    side = 2 * reach + 1
    near = F.unfold(second, side, dilation=step, padding=reach * step)
    near = near.view(1, second.shape[1], side**2, *second.shape[2:])
    return (first[:, :, None] * near).mean(1)
