"""DSTAdapter in plain PyTorch, written for the comparison in `against_pytorch`.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.against_pytorch --mode train --batch 1

Shapes, frozen parts, arithmetic and modules are those of the reference: MultiheadAttention, Conv3d
for patches and depthwise convolutions, LayerNorm, AdamW. Weights are random; speed does not depend
on them.
"""

import torch
from torch import nn

SIZES = {  # patch, width, layers, heads
    "vit_b16": (16, 768, 12, 12),
    "vit_l14": (14, 1024, 24, 16),
}
RESOLUTION, FRAMES, REDUCTION = 224, 8, 16
NUM_CLASSES = 226


class QuickGELU(nn.Module):
    """Activation function of CLIP."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map any shape to itself."""
        return x * torch.sigmoid(1.702 * x)


class Adapter(nn.Module):
    """Bottleneck, depthwise convolution and channel gate on the patch tokens."""

    def __init__(self, width: int, kernel: tuple[int, int, int]):
        super().__init__()
        hidden = width // REDUCTION
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        padding = tuple(side // 2 for side in kernel)
        self.conv = nn.Conv3d(hidden, hidden, kernel, padding=padding, groups=hidden)
        self.gate = nn.Sequential(
            nn.Linear(width, hidden, bias=False),
            nn.ReLU(),
            nn.Linear(hidden, width, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `n (b t) d` to the same shape."""
        tokens, frames, width = x.shape
        side = int((tokens - 1) ** 0.5)
        patches = x[1:].permute(1, 0, 2)
        h = self.fc1(patches).view(frames // FRAMES, FRAMES, side, side, -1)
        h = self.conv(h.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
        h = self.fc2(h)
        h = h * self.gate(h.mean(dim=(1, 2, 3)))[:, None, None, None, :]
        h = h.reshape(frames, tokens - 1, width).permute(1, 0, 2)
        return torch.cat([x[:1], x[1:] + h], dim=0)


class Block(nn.Module):
    """CLIP's block with both adapters; computes all tokens in every block, as the reference."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.t_adapter = Adapter(width, (3, 1, 1))
        self.s_adapter = Adapter(width, (1, 1, 1))
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), QuickGELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `n (b t) d` to the same shape."""
        x = self.t_adapter(x)
        y = self.ln_1(x)
        x = x + self.s_adapter(self.attn(y, y, y, need_weights=False)[0])
        return x + self.mlp(self.ln_2(x))


class Network(nn.Module):
    """Classifier of clips."""

    def __init__(self, model: str):
        super().__init__()
        patch, width, layers, heads = SIZES[model]
        scale, grid = width**-0.5, RESOLUTION // patch
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(1 + grid**2, width))
        self.temporal_embedding = nn.Parameter(torch.zeros(1, FRAMES, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.dropout, self.head = nn.Dropout(0.5), nn.Linear(width, NUM_CLASSES)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Map `(b, 3, t, h, w)` float32 to logits `(b, classes)`."""
        batch = clips.shape[0]
        x = clips.permute(0, 2, 1, 3, 4).flatten(0, 1)
        x = self.conv1(x).flatten(2).permute(0, 2, 1)
        token = self.class_embedding.expand(len(x), 1, -1)
        x = torch.cat([token, x], dim=1) + self.positional_embedding
        time = self.temporal_embedding.expand(batch, -1, -1).reshape(len(x), 1, -1)
        x = self.blocks(self.ln_pre(x + time).permute(1, 0, 2))
        x = self.ln_post(x[0]).view(batch, FRAMES, -1).mean(dim=1)
        return self.head(self.dropout(x))


def freeze(network: Network, tune: str) -> None:
    """Set `requires_grad` of every parameter: `adapter` as in the reference, `head`, or `full`."""
    for name, parameter in network.named_parameters():
        trained = tune == "full" or name.startswith("head.")
        if tune == "adapter":
            trained |= "_adapter." in name or name.startswith(("temporal_embedding", "ln_post."))
        parameter.requires_grad_(trained)
