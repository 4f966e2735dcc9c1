"""Questions over a socket: who may ask, what is no question, and that nobody who asks holds up the daemon."""

import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from mmirrorfs.mount.questions import Silent, Values, about, answering, ask, paths_in
from mmirrorfs.mount.sockets import connected, listening
from tests.support.users import as_nobody, needs_root


async def echo(question: Values) -> Values | None:
    """An answer that has the question in it; none to some."""
    if question.get("ask") == "break":
        raise KeyError("a bug")
    if question.get("ask") == "wait":
        await trio.sleep_forever()
    return {"asked": question} if question.get("ask") else None


def device(tmp_path: Path) -> str:
    """A number that no view has."""
    return f"test {tmp_path}"


@asynccontextmanager
async def answered(name: str) -> AsyncIterator[None]:
    """A daemon that answers, from when the socket is there."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answering, name, echo)
        while (connection := connected(f"{name}/questions")) is None:
            await trio.sleep(0.01)
        connection.close()
        yield
        nursery.cancel_scope.cancel()


async def asked(name: str, question: Values, seconds: float = 5, owner: int | None = None) -> Values | None:
    """Ask as another process would, from a thread."""
    return await trio.to_thread.run_sync(ask, name, os.geteuid() if owner is None else owner, question, seconds)


async def test_a_question_is_answered_whatever_its_size(tmp_path: Path) -> None:
    name = device(tmp_path)
    async with answered(name):
        for question in ({"ask": "a"}, {"ask": "b", **about(*[b"/" + b"\xff\n" * 2000] * 10)}):
            assert await asked(name, question) == {"asked": question}
        assert await asked(name, {"no": "question"}) is None


async def test_nobody_is_asked_where_nobody_listens_or_somebody_else_does(tmp_path: Path) -> None:
    name = device(tmp_path)
    with pytest.raises(ConnectionError):
        await asked(name, {"ask": "a"})
    if os.geteuid() != 0:
        return
    async with answered(name):
        assert await asked(name, {"ask": "a"}, owner=12345) is not None, "root is believed"


@pytest.mark.parametrize("said", [b"", b"{", b"[]\n", b"1\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"x" * 300_000])
async def test_nonsense_gets_no_answer_and_ends_nothing(tmp_path: Path, said: bytes) -> None:
    name = device(tmp_path)

    def nonsense() -> bytes:
        connection = connected(f"{name}/questions")
        assert connection is not None
        with connection:
            connection.settimeout(5)
            try:
                connection.sendall(said)
                connection.shutdown(socket.SHUT_WR)
                return connection.recv(10)
            except ConnectionError:
                return b""

    async with answered(name):
        assert await trio.to_thread.run_sync(nonsense) == b""
        assert await asked(name, {"ask": "a"}) is not None


async def test_an_error_in_an_answer_is_logged_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = device(tmp_path)
    async with answered(name):
        with pytest.raises(ConnectionError):
            await asked(name, {"ask": "break"})
        assert await asked(name, {"ask": "a"}) is not None
    assert [record.getMessage() for record in caplog.records] == ["internal error in the answer to break"]


async def test_who_gives_no_answer_is_not_waited_for_and_is_named(tmp_path: Path) -> None:
    name = device(tmp_path)
    async with answered(name):
        with pytest.raises(Silent) as silent:
            await asked(name, {"ask": "wait"}, seconds=0.1)
        assert silent.value.pid == os.getpid()
        assert await asked(name, {"ask": "a"}) is not None


async def test_a_name_that_is_taken_is_waited_for(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    name = device(tmp_path)
    taken = listening(f"{name}/questions")
    assert taken is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answering, name, echo)
        await trio.sleep(5)
        taken.close()
        await trio.sleep(5)
        held = listening(f"{name}/questions")
        assert held is None
        nursery.cancel_scope.cancel()


@needs_root
async def test_a_stranger_gets_no_answer(tmp_path: Path) -> None:
    name = device(tmp_path)

    code = f"from mmirrorfs.mount.questions import ask; print(ask({name!r}, 0, {{'ask': 'a'}}, 5))"
    async with answered(name):
        done = await trio.to_thread.run_sync(as_nobody, sys.executable, "-c", code)
        assert done.stdout == b""
        assert b"ConnectionResetError" in done.stderr or b"BrokenPipeError" in done.stderr


def test_only_absolute_paths_are_taken_from_a_question() -> None:
    assert paths_in(about(b"/a/../b//c/", b"relative", b"/nul\0", b"/caf\xe9")) == [b"/b/c", b"/caf\xe9"]
    for said in ("null", "1", '"text"', '[1, null, "?", {}]', '{"a": 1}'):
        assert paths_in({"paths": json.loads(said)}) == []
