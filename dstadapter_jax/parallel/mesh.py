"""Where arrays lie: a mesh of `data` x `fsdp` devices and the rules for batches and weights."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

STACKED_LAYERS = "blocks"  # the part of the model whose weights have a leading axis of layers


def make_mesh(data: int = -1, fsdp: int = 1) -> Mesh:
    """A mesh over all devices of all hosts; -1 stands for all that the other axis leaves.

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


def batch_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """One axis, the leading one unless told, over every device."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, ("data", "fsdp")))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def put_batch(mesh: Mesh, rows: np.ndarray) -> jax.Array:
    """Rows split over all devices if they can be, else whole on each."""
    split = len(rows) % mesh.size == 0
    return jax.device_put(rows, batch_sharding(mesh) if split else replicated(mesh))


def parameter_sharding(mesh: Mesh, tree: Any) -> Any:
    """For every leaf: its largest axis that `fsdp` divides is split over it, else none is.

    The layers of the stack are never divided among devices: a scan over it would fetch each layer
    whole from the one device that has it, while the others wait, instead of a part from each.
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
    """Weights that a product is about to use, brought together on every device.

    Left to itself, the compiler may leave the weights where they are and bring every device the
    activations of the whole batch, which are many times as large. Inside a scan over layers, only
    one layer's weights are whole at a time; only `traced_under`.
    """
    return weights if device_count() == 1 else _constrained(weights, PartitionSpec())


def constrain_batch(rows: jax.Array) -> jax.Array:
    """Rows that are split over all devices and stay so; only `traced_under`."""
    return rows if device_count() == 1 else _constrained(rows, PartitionSpec(("data", "fsdp")))


def _constrained(tree: Any, spec: PartitionSpec) -> Any:
    return jax.lax.with_sharding_constraint(tree, spec)


def device_count() -> int:
    """Of the mesh that `traced_under` has put around this."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else mesh.size


def traced_under(mesh: Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a function so that it is traced under `mesh`, which `all_gather_weights` needs."""

    @functools.wraps(function)
    def traced(*arguments: Any) -> Any:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*arguments)

    return traced


def put_global(tree: Any, shardings: Any) -> Any:
    """Arrays that are the same on every host, laid out by `shardings`.

    Unlike `jax.device_put`, which compares all values among all hosts, this sends nothing.
    """

    def put(leaf: jax.Array, sharding: NamedSharding) -> jax.Array:
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree, shardings)


def process_rows(mesh: Mesh, size: int) -> np.ndarray:
    """Which rows of a batch of `size` lie on this host's devices, ascending."""
    slices = batch_sharding(mesh).addressable_devices_indices_map((size,)).values()
    return np.unique(np.concatenate([np.arange(size)[index] for index in slices]))


def shard_batch(mesh: Mesh, batch: dict[str, np.ndarray], axis: int = 0) -> dict[str, jax.Array]:
    """Splits a batch over all devices along `axis`; every host gives its `process_rows` of it."""
    sharding = batch_sharding(mesh, axis)
    return {
        name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()
    }


def addressable_rows(mesh: Mesh, array: jax.Array) -> np.ndarray:
    """What comes of the rows that this host gave to `shard_batch`."""
    if array.is_fully_addressable:
        return np.asarray(array)
    split = jax.device_put(array, batch_sharding(mesh))
    shards = {shard.index[0].start: shard.data for shard in split.addressable_shards}
    return np.concatenate([np.asarray(shards[start]) for start in sorted(shards)])
