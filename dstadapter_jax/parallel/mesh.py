"""Device mesh with axes `data` and `fsdp`, and the shardings of batches and weights on it."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dstadapter_jax.errors import ConfigError

STACKED_LAYERS = "blocks"  # the part of the model whose weights have a leading axis of layers
BATCH_AXES = ("data", "fsdp")


def make_mesh(data: int = -1, fsdp: int = 1) -> Mesh:
    """Create a mesh over all devices of all hosts; -1 stands for the remaining devices.

    Both axes shard the batch; `fsdp` also shards weights and optimizer state.
    """
    count, found = jax.device_count(), f"data = {data}, fsdp = {fsdp}"
    if data == -1 and fsdp > 0:
        data = count // fsdp
    elif fsdp == -1 and data > 0:
        fsdp = count // data
    if data < 1 or fsdp < 1 or data * fsdp != count:
        raise ConfigError(
            "config.mesh",
            expected=f"data x fsdp = {count}, the number of devices",
            found=found,
            advice="One of them may be -1 for the remaining devices.",
        )
    # Under Explicit axes, JAX's default, class token and sharded patches can't be concatenated.
    return jax.make_mesh((data, fsdp), BATCH_AXES, axis_types=(AxisType.Auto, AxisType.Auto))


def batch_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Sharding of one axis, by default the leading one, over all devices."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """Sharding of an array that every device holds completely."""
    return NamedSharding(mesh, PartitionSpec())


def put_batch(mesh: Mesh, rows: np.ndarray) -> jax.Array:
    """Put rows on all devices: sharded if their number allows it, otherwise replicated."""
    divisible = len(rows) % mesh.size == 0
    return jax.device_put(rows, batch_sharding(mesh) if divisible else replicated(mesh))


def parameter_sharding(mesh: Mesh, tree: Any) -> Any:
    """Sharding of each leaf: its largest axis that `fsdp` divides, if any.

    The axis of stacked layers is never sharded: a scan would fetch each whole layer from the one
    device that holds it, while the others wait, instead of a part from each device.
    """

    def rule(path: tuple[Any, ...], leaf: jax.Array | jax.ShapeDtypeStruct) -> NamedSharding:
        stacked = any(getattr(key, "key", None) == STACKED_LAYERS for key in path)
        sizes = dict(enumerate(leaf.shape))
        divisible = [axis for axis, n in sizes.items() if n % mesh.shape["fsdp"] == 0]
        divisible = [axis for axis in divisible if axis or not stacked]
        spec: list[str | None] = [None] * len(sizes)
        if divisible and mesh.shape["fsdp"] > 1:
            spec[max(divisible, key=lambda axis: sizes[axis])] = "fsdp"
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree.map_with_path(rule, tree)


def all_gather_weights(weights: Any) -> Any:
    """Replicate weights right before their use; only inside a function from `traced_under`.

    Without this constraint the compiler may leave weights sharded and send every device the
    activations of the whole batch, which are many times larger. In a scan over layers only one
    layer's weights are replicated at a time.
    """
    return weights if device_count() == 1 else _constrain(weights, PartitionSpec())


def constrain_batch(rows: jax.Array) -> jax.Array:
    """Keep rows sharded over all devices; only inside a function from `traced_under`."""
    return rows if device_count() == 1 else _constrain(rows, PartitionSpec(BATCH_AXES))


def _constrain(tree: Any, spec: PartitionSpec) -> Any:
    return jax.lax.with_sharding_constraint(tree, spec)


def device_count() -> int:
    """Number of devices of the mesh set by `traced_under`; 1 outside of it."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else mesh.size


def traced_under(mesh: Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that `jax.jit` traces it under `mesh`."""

    @functools.wraps(function)
    def traced(*arguments: Any) -> Any:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*arguments)

    return traced


def put_global(tree: Any, shardings: Any) -> Any:
    """Put arrays that are equal on all hosts on the devices, by `shardings`.

    Unlike `jax.device_put`, which compares the values of all hosts, this sends nothing.
    """

    def put(leaf: jax.Array, sharding: NamedSharding) -> jax.Array:
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree, shardings)


def process_rows(mesh: Mesh, size: int) -> np.ndarray:
    """Indices, ascending, of the rows of a batch of `size` on this host's devices."""
    slices = batch_sharding(mesh).addressable_devices_indices_map((size,)).values()
    return np.unique(np.concatenate([np.arange(size)[index] for index in slices]))


def shard_batch(mesh: Mesh, batch: dict[str, np.ndarray], axis: int = 0) -> dict[str, jax.Array]:
    """Shard a batch over all devices along `axis`; each host passes its `process_rows`."""
    sharding = batch_sharding(mesh, axis)
    return {
        name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()
    }


def addressable_rows(mesh: Mesh, array: jax.Array) -> np.ndarray:
    """Rows of a result that belong to the rows this host passed to `shard_batch`."""
    if array.is_fully_addressable:
        return np.asarray(array)
    sharded = jax.device_put(array, batch_sharding(mesh))
    shards = {shard.index[0].start: shard.data for shard in sharded.addressable_shards}
    return np.concatenate([np.asarray(shards[start]) for start in sorted(shards)])
