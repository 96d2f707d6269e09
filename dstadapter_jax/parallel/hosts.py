"""Many hosts: joining them, agreeing among them, and ending where one is gone.

Every process runs the same program on its part of the data. The first, process 0, alone writes
files and logs; only checkpoints are written by all together.
"""

import ctypes
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

logger = logging.getLogger(__name__)

INIT_TIMEOUT_S = 300  # for all processes to start; queues and images are slow
HEARTBEAT_TIMEOUT_S = 30  # without a sign of life from a process until it counts as dead
SHUTDOWN_TIMEOUT_S = 60  # until all have ended; process 0 draws pictures last

RESTART_HINT = (
    "If another process of the run has died, its own messages say why. Start all of them again with"
    " the same commands: the run goes on from its last checkpoint."
)


def is_jax_runtime_error(error: BaseException) -> bool:
    """Whether JAX's runtime says it, of a collective that another process's end broke off, say.

    Of some collectives it says so by a ValueError, as TensorStore speaks of the disk.
    """
    collective = isinstance(error, ValueError) and re.search("Gloo|NCCL", str(error))
    return bool(collective) or isinstance(error, jax.errors.JaxRuntimeError)


def initialize_distributed(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins the run's other processes, before JAX is used for anything else.

    Args:
        coordinator: `HOST:PORT` of process 0, any free port. Without it JAX asks SLURM, Open MPI,
            Kubernetes or the TPU's metadata; where there is none of these, the process is alone.
        num_processes: Of the run; 1, given alone: ask nobody.
        process_id: Of this one, from 0.

    Raises:
        ValueError: Not all three were given, or the others can't be reached.
    """
    if num_processes == 1 and coordinator is None:
        return
    given = (coordinator, num_processes, process_id)
    if any(value is not None for value in given) and None in given:
        raise ValueError(
            "--coordinator HOST:PORT, --num_processes and --process_id go together: expected all"
            " three, or none where SLURM, Open MPI, Kubernetes or a TPU pod starts the processes."
        )
    if coordinator is not None and num_processes is not None and process_id is not None:
        _check_address(coordinator, num_processes, process_id)
    # Its handler would take SIGTERM away from ours, and it knows no SIGINT.
    jax.config.update("jax_enable_preemption_service", False)
    unreachable = (
        "the processes of the run can't be joined. Expected every one of them started within"
        f" {INIT_TIMEOUT_S} s, and process 0 reachable at --coordinator HOST:PORT, where no other"
        " program listens (SLURM and Open MPI: JAX_COORDINATOR_PORT sets the port);"
        " --num_processes=1 trains with one process alone."
    )
    _end_readably_on_abort(unreachable)
    still_waiting = threading.Timer(
        HEARTBEAT_TIMEOUT_S, logger.warning, ("waiting for the run's other processes to start",)
    )
    still_waiting.start()
    try:
        jax.distributed.initialize(
            *given,
            cluster_detection_method="deactivate" if coordinator else None,
            initialization_timeout=INIT_TIMEOUT_S,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_S,
            shutdown_timeout_seconds=SHUTDOWN_TIMEOUT_S,
        )
    except (ValueError, RuntimeError) as error:
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        if coordinator is None and "coordinator_address should be defined" in str(error):
            return
        raise ValueError(f"{str(error).strip().splitlines()[0]}: {unreachable}") from error
    finally:
        still_waiting.cancel()
    name = f"process {jax.process_index()} of {jax.process_count()}"
    _end_readably_on_abort(f"{name}: the run can't go on. {RESTART_HINT}")
    if not is_primary():
        logging.getLogger("dstadapter_jax").setLevel(logging.WARNING)


def _check_address(coordinator: str, num_processes: int, process_id: int) -> None:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(
            f"--coordinator: expected HOST:PORT with a port of 1 to 65535, found {coordinator!r}."
        )
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f"--process_id: expected 0 to {num_processes - 1}, found {process_id}: each of the"
            f" {num_processes} processes has its own."
        )
    if process_id == 0:
        _check_port(coordinator, int(port))


def _check_port(coordinator: str, port: int) -> None:
    """Raises ValueError if process 0 can't listen there.

    JAX would say that a server failed to start, or even share the port with another run's process
    0, and both runs would end when they get each other's processes.
    """
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    try:
        with socket.create_server(
            ("", port), family=family, dualstack_ipv6=family == socket.AF_INET6
        ):
            pass
    except OSError as error:
        raise ValueError(
            f"--coordinator {coordinator}: process 0, which this one is, can't listen on port"
            f" {port}: {os.strerror(error.errno or 0)}. Give all processes another one that is"
            " free, of 1024 to 65535, or end what uses it: a process of an earlier run?"
        ) from error


def _end_readably_on_abort(message: str) -> None:
    """Exit status 1 and a message where JAX, hearing no more from another process, aborts.

    JAX notices also what hangs in a collective, but answers with `abort()` in a thread of its own,
    of which Python's signal handlers never learn: they run between two lines of the main thread.
    """

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def leave(_: int) -> None:
        os.write(2, f"\nerror: {message}\n".encode())
        os._exit(1)

    ctypes.CDLL(None).signal(signal.SIGABRT, leave)
    _handlers.append(leave)


_handlers: list[Any] = []  # C keeps no reference to them


def is_primary() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def any_process(flag: bool) -> bool:
    """Whether the flag is set on any host; all must ask."""
    return flag if jax.process_count() == 1 else bool(all_gather({"": np.array([flag])})[""].any())


def all_gather(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All hosts' rows, in the order of the hosts; all must have as many."""
    if jax.process_count() == 1:
        return rows
    return multihost_utils.process_allgather(rows, tiled=True)


def all_gather_json(value: Any) -> list[Any]:
    """Every host's value, in the order of the hosts, of what JSON can hold; all must ask."""
    if jax.process_count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = all_gather({"": np.array([text.size])})[""]
    padded = np.pad(text, (0, sizes.max() - text.size))  # collectives want one size
    rows = all_gather({"": padded[np.newaxis]})[""]
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def barrier(what: str) -> None:
    """Returns once all processes are here; they may be `INIT_TIMEOUT_S` apart.

    By JAX's coordination service: processes whose first collective begins 30 s apart fail in it.
    """
    multihost.get_barrier_sync_fn()(key=what, timeout_ms=INIT_TIMEOUT_S * 1000)


class DelayedAllReduceMax:
    """The largest of the values that the hosts gave at the call before: for all the same.

    A call late, so that nobody waits for it: the answer to the call before is there by the time
    that the device, which works on what it was given in order, has done the step before.
    """

    def __init__(self) -> None:
        self._answer: jax.Array | None = None
        self._maximum = jax.jit(jnp.max)

    def __call__(self, value: int) -> int:
        """Gives this host's value; all must call as often."""
        if jax.process_count() == 1:
            return value
        before, mesh = self._answer, Mesh(np.array(jax.devices()), "devices")
        split = NamedSharding(mesh, PartitionSpec("devices"))
        own = np.full(jax.local_device_count(), value, np.int32)
        self._answer = self._maximum(jax.make_array_from_process_local_data(split, own))
        return 0 if before is None else int(before)


def fetch_finite(tree: Any) -> Any:
    """What `fetch_global` gives; raises FloatingPointError if a number among it isn't finite."""
    whole = fetch_global(tree)
    if not all(np.isfinite(array).all() for array in jax.tree.leaves(whole)):
        raise FloatingPointError("weights or optimizer state aren't finite any more")
    return whole


def fetch_global(tree: Any) -> Any:
    """Whole arrays in this process's memory, also where each process holds a part of them."""
    if jax.process_count() > 1:
        return multihost_utils.process_allgather(tree, tiled=True)
    return jax.device_get(tree)
