"""Where arrays lie: a mesh of `data` x `fsdp` devices and the rules for batches and weights."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh(data: int = -1, fsdp: int = 1) -> Mesh:
    """A mesh over all devices; -1 stands for all that the other axis leaves.

    Both axes split the batch; `fsdp` also splits weights and optimizer state.
    """
    count, asked = jax.device_count(), f"data = {data}, fsdp = {fsdp}"
    if data == -1 and fsdp > 0:
        data = count // fsdp
    elif fsdp == -1 and data > 0:
        fsdp = count // data
    if data < 1 or fsdp < 1 or data * fsdp != count:
        raise ValueError(
            f"config.mesh: data x fsdp must make up the {count} devices there are, found {asked}."
            " One of them may be -1: as many as are left."
        )
    # Under Explicit axes, JAX's default, the class token could not be joined to sharded patches.
    return jax.make_mesh((data, fsdp), ("data", "fsdp"), axis_types=(AxisType.Auto, AxisType.Auto))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Leading axis over every device."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def parameter_sharding(mesh: Mesh, tree: Any) -> Any:
    """For every leaf: its largest axis that `fsdp` divides is split over it, else none is."""

    def rule(leaf: jax.Array | jax.ShapeDtypeStruct) -> NamedSharding:
        divisible = [axis for axis, n in enumerate(leaf.shape) if n % mesh.shape["fsdp"] == 0]
        spec: list[str | None] = [None] * len(leaf.shape)
        if divisible and mesh.shape["fsdp"] > 1:
            spec[max(divisible, key=lambda axis: leaf.shape[axis])] = "fsdp"
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree.map(rule, tree)


def shard_batch(mesh: Mesh, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Splits a batch, its leading axis, over the devices."""
    return jax.device_put(batch, batch_sharding(mesh))
