"""Arguments and addresses of a run with several processes."""

import socket

import pytest

from dstadapter_jax.parallel.hosts import initialize_distributed
from tests.helpers.errors import raises


@pytest.mark.parametrize(
    ("given", "where", "found"),
    [
        (("localhost:1", None, None), "--coordinator", "--coordinator"),
        ((None, None, 0), "--process_id", "--process_id"),
        (("localhost", 2, 0), "--coordinator", "'localhost'"),
        ((":1234", 2, 0), "--coordinator", "':1234'"),
        (("localhost:65536", 2, 0), "--coordinator", "'localhost:65536'"),
        (("localhost:1234", 2, 2), "--process_id", "2"),
    ],
)
def test_initialize_distributed_with_invalid_arguments_raises(given, where, found):
    with raises(where=where, found=found):
        initialize_distributed(*given)


# Shared ports are gRPC's way: whoever asks for one in the same way gets it, too.
@pytest.mark.parametrize(("host", "shared"), [("localhost", False), ("", True)])
def test_initialize_distributed_with_port_in_use_raises(host, shared):
    with socket.create_server((host, 0), reuse_port=shared) as taken:
        port = taken.getsockname()[1]
        where, problem = f"--coordinator {host or 'localhost'}:{port}", (f"{port}", "in use")
        with raises(where=where, problem=problem):
            initialize_distributed(f"localhost:{port}", 2, 0)
