"""Processes on many hosts: initialization, collectives on host data, and the end of a dead peer.

Every process runs the same program on its part of the data. Process 0 alone writes files and logs;
checkpoints are written by all processes together.
"""

import json
import logging
import os
import re
import signal
import socket
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from orbax.checkpoint import multihost

from dstadapter_jax.errors import UserError
from dstadapter_jax.parallel.signals import exit_with_message_on_abort

logger = logging.getLogger(__name__)

INIT_TIMEOUT_S = 300  # until all processes have started; queues and container images are slow
HEARTBEAT_TIMEOUT_S = 30  # of silence until a process counts as dead
SHUTDOWN_TIMEOUT_S = 60  # until all processes have ended; process 0 draws pictures last

RESTART_HINT = (
    "If another process of the run has died, its own messages state the reason. Start all of them"
    " again with the same commands: the run resumes from its last checkpoint."
)
JOIN_HINT = (
    f"All processes must start within {INIT_TIMEOUT_S} s, and process 0 must be reachable at"
    " --coordinator HOST:PORT, where no other program listens (SLURM and Open MPI:"
    " JAX_COORDINATOR_PORT sets the port). --num_processes=1 trains with one process alone."
)


def is_jax_runtime_error(error: BaseException) -> bool:
    """Whether an error comes from the JAX runtime, e.g. a failed collective.

    Some failed collectives raise a ValueError, as TensorStore does for disk errors.
    """
    collective = isinstance(error, ValueError) and re.search("Gloo|NCCL", str(error))
    return bool(collective) or isinstance(error, jax.errors.JaxRuntimeError)


def initialize_distributed(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Connect to the run's other processes, before JAX is used for anything else.

    Args:
        coordinator: `HOST:PORT` of process 0, with any free port. By default JAX asks SLURM, Open
            MPI, Kubernetes or the TPU's metadata; without these the process runs alone.
        num_processes: Number of processes; 1 without a coordinator skips the search for others.
        process_id: Index of this process, from 0.

    Raises:
        UserError: Arguments are missing or invalid, or the other processes can't be reached.
    """
    if num_processes == 1 and coordinator is None:
        return
    _check_arguments(coordinator, num_processes, process_id)
    # JAX's own handler would replace ours for SIGTERM, and it ignores SIGINT.
    jax.config.update("jax_enable_preemption_service", False)
    if not _connect(coordinator, num_processes, process_id):
        return
    name = f"process {jax.process_index()} of {jax.process_count()}"
    exit_with_message_on_abort(f"{name}: the run can't continue. {RESTART_HINT}")
    if not is_primary():
        logging.getLogger("dstadapter_jax").setLevel(logging.WARNING)


def _connect(coordinator: str | None, num_processes: int | None, process_id: int | None) -> bool:
    """Initialize `jax.distributed`; returns False if no launcher is found."""
    exit_with_message_on_abort(f"the run's processes can't be connected. {JOIN_HINT}")
    waiting = threading.Timer(
        HEARTBEAT_TIMEOUT_S, logger.warning, ("waiting for the run's other processes to start",)
    )
    waiting.start()
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            cluster_detection_method="deactivate" if coordinator else None,
            initialization_timeout=INIT_TIMEOUT_S,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_S,
            shutdown_timeout_seconds=SHUTDOWN_TIMEOUT_S,
        )
    except (ValueError, RuntimeError) as error:
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        if coordinator is None and "coordinator_address should be defined" in str(error):
            return False
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            "--coordinator",
            problem=f"the run's processes can't be connected: {reason}",
            advice=JOIN_HINT,
        ) from error
    finally:
        waiting.cancel()
    return True


def _check_arguments(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
    given = (coordinator, num_processes, process_id)
    if all(value is None for value in given):
        return
    if coordinator is None or num_processes is None or process_id is None:
        names = ("--coordinator", "--num_processes", "--process_id")
        passed = [name for name, value in zip(names, given, strict=True) if value is not None]
        raise UserError(
            passed[0],
            expected="--coordinator HOST:PORT, --num_processes and --process_id together",
            found=", ".join(passed),
            advice="Pass none of them where SLURM, Open MPI, Kubernetes or a TPU pod starts the"
            " processes.",
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise UserError(
            "--coordinator",
            expected="HOST:PORT with a port from 1 to 65535",
            found=repr(coordinator),
        )
    if not 0 <= process_id < num_processes:
        raise UserError(
            "--process_id",
            expected=f"0 to {num_processes - 1}, a different one for each process",
            found=process_id,
        )
    if process_id == 0:
        _check_port(coordinator, int(port))


def _check_port(coordinator: str, port: int) -> None:
    """Raise UserError if process 0 can't listen on the port.

    JAX would report that a server failed to start, or even share the port with process 0 of another
    run; both runs would end when they receive each other's processes.
    """
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    try:
        with socket.create_server(
            ("", port), family=family, dualstack_ipv6=family == socket.AF_INET6
        ):
            pass
    except OSError as error:
        raise UserError(
            f"--coordinator {coordinator}",
            problem=f"this is process 0, and it can't listen on port {port}:"
            f" {os.strerror(error.errno or 0)}",
            advice="Pass another free port from 1024 to 65535 to all processes, or end the program"
            " that uses this one, e.g. a process of an earlier run.",
        ) from error


def is_primary() -> bool:
    """Whether this process writes files and logs."""
    return jax.process_index() == 0


def any_process(flag: bool) -> bool:
    """Whether the flag is set on any process; a collective call."""
    return flag if jax.process_count() == 1 else bool(all_gather({"": np.array([flag])})[""].any())


def all_gather(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows of all processes, in their order; all must pass equally many. A collective call."""
    if jax.process_count() == 1:
        return rows
    return multihost_utils.process_allgather(rows, tiled=True)


def all_gather_json(value: Any) -> list[Any]:
    """JSON values of all processes, in their order; a collective call."""
    if jax.process_count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = all_gather({"": np.array([text.size])})[""]
    padded = np.pad(text, (0, sizes.max() - text.size))  # collectives need equal sizes
    rows = all_gather({"": padded[np.newaxis]})[""]
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def fetch_global(tree: Any) -> Any:
    """Complete NumPy arrays on this host, also where each process holds a part; collective."""
    if jax.process_count() > 1:
        return multihost_utils.process_allgather(tree, tiled=True)
    return jax.device_get(tree)


def fetch_finite(tree: Any) -> Any:
    """Like `fetch_global`; raises FloatingPointError if a value is not finite."""
    arrays = fetch_global(tree)
    if not all(np.isfinite(array).all() for array in jax.tree.leaves(arrays)):
        raise FloatingPointError("weights or optimizer state are not finite")
    return arrays


def barrier(name: str) -> None:
    """Wait for all processes, which may be `INIT_TIMEOUT_S` apart.

    Uses JAX's coordination service: a collective fails if processes enter it 30 s apart.
    """
    multihost.get_barrier_sync_fn()(key=name, timeout_ms=INIT_TIMEOUT_S * 1000)


class DelayedAllReduceMax:
    """All-reduce maximum over processes, returned one call late.

    The delay hides the latency: the device works in order, so the result of the previous call is
    ready once the step before has been computed.
    """

    def __init__(self) -> None:
        self._pending: jax.Array | None = None
        self._maximum = jax.jit(jnp.max)

    def __call__(self, value: int) -> int:
        """Pass this process's value; returns the maximum of the previous call's values."""
        if jax.process_count() == 1:
            return value
        previous, mesh = self._pending, Mesh(np.array(jax.devices()), "devices")
        sharding = NamedSharding(mesh, PartitionSpec("devices"))
        own = np.full(jax.local_device_count(), value, np.int32)
        self._pending = self._maximum(jax.make_array_from_process_local_data(sharding, own))
        return 0 if previous is None else int(previous)
