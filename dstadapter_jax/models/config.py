"""Validated sizes and numerical settings of the network."""

import dataclasses
from typing import Any, Self

import jax

from dstadapter_jax.errors import ConfigError

SAVED_ACTIVATION = "saved"  # checkpoint name of activations saved for the backward pass
REMAT_POLICIES = {
    "none": None,
    # Save each block's input, queries, keys and values, the MLP's hidden layer and the adapters'
    # bottlenecks; recompute the rest, an eighth of the forward pass.
    "selective": jax.checkpoint_policies.save_only_these_names(SAVED_ACTIVATION),
    # Save each block's input only.
    "full": jax.checkpoint_policies.nothing_saveable,
}
COMPUTE_DTYPES = ("float32", "bfloat16")
ACTIVATIONS = ("quick_gelu", "gelu")
SPATIAL_KERNELS = ((1, 1, 1), (1, 3, 3))
BOTTLENECK_RATIO = 16  # width divided by the bottleneck of adapters and gates


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of a `DSTAdapter`; `vit_b16` and `vit_l14` are the published models.

    The other named sizes are those of further CLIP towers.
    """

    num_classes: int
    input_resolution: int = 224  # side of the square input, pixels
    num_frames: int = 8  # frames a clip
    patch_size: int = 16  # pixels
    width: int = 768
    layers: int = 12
    heads: int = 12
    activation: str = "quick_gelu"  # of the MLPs, as the backbone was trained with
    # Kernel of s_adapter as in the released code; the paper's text suggests (1, 3, 3).
    spatial_kernel: tuple[int, int, int] = (1, 1, 1)
    dropout: float = 0.5  # before the classifier
    # Dtype of matrix products; weights, embeddings, norms, softmax, gates and logits are float32.
    dtype: str = "float32"
    remat: str = "selective"  # recomputation in the backward pass, a key of REMAT_POLICIES

    def __post_init__(self) -> None:
        # JSON turns tuples into lists.
        object.__setattr__(self, "spatial_kernel", tuple(self.spatial_kernel))
        for name in ("num_classes", "input_resolution", "num_frames", "patch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name}", expected="at least 1", found=getattr(self, name))
        if self.layers < 2:  # all except the last are stacked, and an empty stack can't be saved
            raise ConfigError("model.layers", expected="at least 2", found=self.layers)
        if self.input_resolution % self.patch_size:
            raise ConfigError(
                "model.input_resolution",
                expected=f"a multiple of model.patch_size = {self.patch_size}",
                found=self.input_resolution,
            )
        if self.heads < 1 or self.width < BOTTLENECK_RATIO or self.width % self.heads:
            raise ConfigError(
                "model.width",
                expected=f"at least {BOTTLENECK_RATIO} and a multiple of model.heads={self.heads}",
                found=self.width,
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError("model.dropout", expected="0 <= dropout < 1", found=self.dropout)
        for name, valid in (
            ("spatial_kernel", SPATIAL_KERNELS),
            ("activation", ACTIVATIONS),
            ("dtype", COMPUTE_DTYPES),
            ("remat", tuple(REMAT_POLICIES)),
        ):
            if getattr(self, name) not in valid:
                found = repr(getattr(self, name))
                raise ConfigError(f"model.{name}", expected=f"one of {valid}", found=found)

    @classmethod
    def vit_b16(cls, num_classes: int, **changes: Any) -> Self:
        """CLIP ViT-B/16: 89,367,552 parameters without the classifier, 3,569,664 trainable."""
        return cls(num_classes=num_classes, **changes)

    @classmethod
    def vit_l14(cls, num_classes: int, **changes: Any) -> Self:
        """CLIP ViT-L/14: 315,832,320 parameters without the classifier, 12,654,592 trainable."""
        return cls(
            num_classes=num_classes,
            **{"patch_size": 14, "width": 1024, "layers": 24, "heads": 16} | changes,
        )

    @classmethod
    def vit_b32(cls, num_classes: int, **changes: Any) -> Self:
        """CLIP ViT-B/32."""
        return cls(num_classes=num_classes, **{"patch_size": 32} | changes)

    @classmethod
    def vit_l14_336(cls, num_classes: int, **changes: Any) -> Self:
        """CLIP ViT-L/14 for frames of 336 pixels."""
        return cls.vit_l14(num_classes, **{"input_resolution": 336} | changes)

    @classmethod
    def vit_h14(cls, num_classes: int, **changes: Any) -> Self:
        """ViT-H/14 of open_clip, with GELU."""
        sizes: dict[str, Any] = {"patch_size": 14, "width": 1280, "layers": 32, "heads": 16}
        return cls(num_classes=num_classes, **sizes | {"activation": "gelu"} | changes)

    @property
    def grid(self) -> int:
        """Number of patches along one side of a frame."""
        return self.input_resolution // self.patch_size

    @property
    def bottleneck(self) -> int:
        """Number of channels in an adapter's bottleneck."""
        return self.width // BOTTLENECK_RATIO
