"""A GlusterFS volume, kept twice by the server of some hosts, that each of their clients has mounted."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.hosts import SERVER, Hosts
from tests.support.polling import poll
from tests.support.users import Word

PROGRAMS = ("glusterd", "gluster", "glusterfs", "mount.glusterfs", "ip")
PATIENCE = 3
"""Seconds until a client gives up on a server that does not answer (network.ping-timeout; 42 where nobody sets it)."""
SLOW = 40.0
"""Seconds for a brick to be up, or whole, again, or for a client to find the volume again."""
NAME = "music"


@dataclass(frozen=True, slots=True)
class Volume:
    """The volume, at ``where`` on each client."""

    hosts: Hosts
    where: Path
    bricks: tuple[Path, Path]

    def stop(self) -> None:
        """Take the volume away from everybody."""
        self._ask("stop", NAME, "force")

    def start(self) -> None:
        """Have it there, with all of its bricks."""
        self._ask("start", NAME, "force")

    def kill(self, brick: Path) -> None:
        """Kill what serves a brick."""
        self.hosts.server.output_of("sh", "-ec", 'kill -KILL "$(cat /run/gluster/vols/*/*"$1".pid)"', "sh", brick.name)

    def await_healed(self) -> None:
        """Wait until both bricks are there and the same."""
        poll(lambda: self._unhealed() == ["0", "0"], "bricks that are the same", SLOW)

    def make(self) -> None:
        """Make it, of the bricks, and start it."""
        self._ask("create", NAME, "replica", "2", *[f"{SERVER}:{brick}" for brick in self.bricks], "force")
        self._ask("set", NAME, "network.ping-timeout", str(PATIENCE))
        self.start()

    def _unhealed(self) -> list[str]:
        """How much is to be healed on each; "-" where that is not known."""
        self.hosts.server.run("gluster", "--mode=script", "volume", "heal", NAME)  # refused while a brick is down
        lines = self._ask("heal", NAME, "info").splitlines()
        return [line.rpartition(" ")[2] for line in lines if line.startswith("Number of entries:")]

    def _ask(self, *words: Word) -> str:
        return self.hosts.server.output_of("gluster", "--mode=script", "volume", *words).decode()


@contextlib.contextmanager
def volume(hosts: Hosts) -> Iterator[Volume]:
    """Make the volume, and mount it. It goes with the hosts."""
    server, found = (
        hosts.server,
        Volume(hosts, hosts.place / "volume", (hosts.place / "brick1", hosts.place / "brick2")),
    )
    for path in (found.where, *found.bricks):
        path.mkdir()
    server.start(lambda: server.run("gluster", "volume", "list").returncode == 0, "glusterd", "--no-daemon")
    found.make()
    for client in hosts.clients:
        client.mount(found.where, "-t", "glusterfs", f"{SERVER}:/{NAME}")
    yield found
