"""The control socket: access control, malformed queries, and clients that must not block the daemon."""

import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from mmirrorfs.mount.control import paths_in, serve_queries
from mmirrorfs.mount.controlclient import NoAnswer, Values, about, send_query
from mmirrorfs.mount.sockets import connected, listening
from tests.support.users import as_nobody, needs_root


async def echo(query: Values) -> Values | None:
    """Answer with the query itself; "break" raises, "wait" never returns."""
    if query.get("ask") == "break":
        raise KeyError("a bug")
    if query.get("ask") == "wait":
        await trio.sleep_forever()
    return {"asked": query} if query.get("ask") else None


def device(tmp_path: Path) -> str:
    """A name that is no view's device number."""
    return f"test {tmp_path}"


@asynccontextmanager
async def daemon(name: str) -> AsyncIterator[None]:
    """A daemon that answers by ``echo``; its socket is bound."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_queries, name, echo)
        while (connection := connected(f"{name}/questions")) is None:
            await trio.sleep(0.01)
        connection.close()
        yield
        nursery.cancel_scope.cancel()


async def query(name: str, values: Values, seconds: float = 5, owner: int | None = None) -> Values | None:
    """Query the daemon from a thread, as another process would."""
    return await trio.to_thread.run_sync(send_query, name, os.geteuid() if owner is None else owner, values, seconds)


async def test_query_of_any_size_is_answered(tmp_path: Path) -> None:
    name = device(tmp_path)
    async with daemon(name):
        for values in ({"ask": "a"}, {"ask": "b", **about(*[b"/" + b"\xff\n" * 2000] * 10)}):
            assert await query(name, values) == {"asked": values}
        assert await query(name, {"no": "question"}) is None


async def test_query_fails_without_a_daemon_and_root_may_answer_for_any_owner(tmp_path: Path) -> None:
    name = device(tmp_path)
    with pytest.raises(ConnectionError):
        await query(name, {"ask": "a"})
    if os.geteuid() != 0:
        return
    async with daemon(name):
        assert await query(name, {"ask": "a"}, owner=12345) is not None, "root is believed"


@pytest.mark.parametrize("sent", [b"", b"{", b"[]\n", b"1\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"x" * 300_000])
async def test_malformed_query_gets_no_answer_and_the_daemon_goes_on(tmp_path: Path, sent: bytes) -> None:
    name = device(tmp_path)

    def send() -> bytes:
        connection = connected(f"{name}/questions")
        assert connection is not None
        with connection:
            connection.settimeout(5)
            try:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                return connection.recv(10)
            except ConnectionError:
                return b""

    async with daemon(name):
        assert await trio.to_thread.run_sync(send) == b""
        assert await query(name, {"ask": "a"}) is not None


async def test_exception_in_the_answer_is_logged_and_the_daemon_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = device(tmp_path)
    async with daemon(name):
        with pytest.raises(ConnectionError):
            await query(name, {"ask": "break"})
        assert await query(name, {"ask": "a"}) is not None
    assert [record.getMessage() for record in caplog.records] == ["internal error in the answer to break"]


async def test_query_times_out_with_the_pid_of_a_silent_daemon(tmp_path: Path) -> None:
    name = device(tmp_path)
    async with daemon(name):
        with pytest.raises(NoAnswer) as silent:
            await query(name, {"ask": "wait"}, seconds=0.1)
        assert silent.value.pid == os.getpid()
        assert await query(name, {"ask": "a"}) is not None


async def test_daemon_binds_the_name_once_it_is_free(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    name = device(tmp_path)
    taken = listening(f"{name}/questions")
    assert taken is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_queries, name, echo)
        await trio.sleep(5)
        taken.close()
        await trio.sleep(5)
        held = listening(f"{name}/questions")
        assert held is None
        nursery.cancel_scope.cancel()


@needs_root
async def test_other_user_gets_no_answer(tmp_path: Path) -> None:
    name = device(tmp_path)

    call = f"send_query({name!r}, 0, {{'ask': 'a'}}, 5)"
    code = f"from mmirrorfs.mount.controlclient import send_query; print({call})"
    async with daemon(name):
        done = await trio.to_thread.run_sync(as_nobody, sys.executable, "-c", code)
        assert done.stdout == b""
        assert b"ConnectionResetError" in done.stderr or b"BrokenPipeError" in done.stderr


def test_paths_in_keeps_valid_absolute_paths_only() -> None:
    assert paths_in(about(b"/a/../b//c/", b"relative", b"/nul\0", b"/caf\xe9")) == [b"/b/c", b"/caf\xe9"]
    for value in ("null", "1", '"text"', '[1, null, "?", {}]', '{"a": 1}'):
        assert paths_in({"paths": json.loads(value)}) == []
