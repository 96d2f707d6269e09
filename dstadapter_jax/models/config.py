"""Sizes of the network and what its products are computed in, checked."""

import dataclasses
from typing import Any, Self

import jax

SAVED_ACTIVATION = "dear"  # name of the values that are dear to recompute and cheap to keep
REMAT_POLICIES = {
    "none": None,
    # Keep each block's input, its queries, keys and values, the MLP's hidden layer and what the
    # adapters have in their bottlenecks; recompute the rest, an eighth of the forward pass.
    "selective": jax.checkpoint_policies.save_only_these_names(SAVED_ACTIVATION),
    # Keep only each block's input.
    "full": jax.checkpoint_policies.nothing_saveable,
}
COMPUTE_DTYPES = ("float32", "bfloat16")
SPATIAL_KERNELS = ((1, 1, 1), (1, 3, 3))
BOTTLENECK_RATIO = 16  # bottleneck of the adapters and of their gates: width // 16


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of a `DSTAdapter`; `vit_b16` and `vit_l14` give those of the published models."""

    num_classes: int
    input_resolution: int = 224  # side of the square input, pixels
    num_frames: int = 8  # frames a clip
    patch_size: int = 16  # pixels
    width: int = 768
    layers: int = 12
    heads: int = 12
    # Of s_adapter, as in the released code; the paper's text suggests (1, 3, 3).
    spatial_kernel: tuple[int, int, int] = (1, 1, 1)
    dropout: float = 0.5  # before the classifier
    # Of the products; weights, embeddings, norms, softmax, gates and logits stay float32.
    dtype: str = "float32"
    remat: str = "selective"  # what the backward pass recomputes, one of REMAT_POLICIES

    def __post_init__(self) -> None:
        # Lists, as JSON gives them back, are as good as tuples.
        object.__setattr__(self, "spatial_kernel", tuple(self.spatial_kernel))
        for name in ("num_classes", "input_resolution", "num_frames", "patch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name}: expected at least 1, found {getattr(self, name)}.")
        if self.layers < 2:  # all but the last are stacked, and nothing can't be saved
            raise ValueError(f"model.layers: expected at least 2, found {self.layers}.")
        if self.input_resolution % self.patch_size:
            raise ValueError(
                f"model.input_resolution: expected a multiple of model.patch_size ="
                f" {self.patch_size}, found {self.input_resolution}."
            )
        if self.heads < 1 or self.width < BOTTLENECK_RATIO or self.width % self.heads:
            raise ValueError(
                f"model.width: expected at least {BOTTLENECK_RATIO} and a multiple of model.heads ="
                f" {self.heads}, found {self.width}."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout: expected 0 <= dropout < 1, found {self.dropout}.")
        for name, valid in (
            ("spatial_kernel", SPATIAL_KERNELS),
            ("dtype", COMPUTE_DTYPES),
            ("remat", tuple(REMAT_POLICIES)),
        ):
            if getattr(self, name) not in valid:
                found = getattr(self, name)
                raise ValueError(f"model.{name}: expected one of {valid}, found {found!r}.")

    @classmethod
    def vit_b16(cls, num_classes: int, **changes: Any) -> Self:
        """CLIP ViT-B/16: 89,367,552 parameters but for the classifier, 3,569,664 trained."""
        return cls(num_classes=num_classes, **changes)

    @classmethod
    def vit_l14(cls, num_classes: int, **changes: Any) -> Self:
        """CLIP ViT-L/14: 315,832,320 parameters but for the classifier, 12,654,592 trained."""
        return cls(
            num_classes=num_classes,
            **{"patch_size": 14, "width": 1024, "layers": 24, "heads": 16} | changes,
        )

    @property
    def grid(self) -> int:
        """Patches along one side of a frame."""
        return self.input_resolution // self.patch_size

    @property
    def bottleneck(self) -> int:
        """Channels inside an adapter."""
        return self.width // BOTTLENECK_RATIO
