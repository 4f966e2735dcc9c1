"""A GlusterFS volume with two replicas on the server of ``hosts``, mounted on each client."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.hosts import SERVER, Hosts
from tests.support.polling import poll
from tests.support.users import Word

PROGRAMS = ("glusterd", "gluster", "glusterfs", "mount.glusterfs", "ip")
PATIENCE = 3
"""Seconds until a client gives up on a server that does not answer (network.ping-timeout; 42 by default)."""
SLOW = 40.0
"""Seconds that a brick may take to restart or to heal, or a client to reconnect."""
NAME = "music"


@dataclass(frozen=True, slots=True)
class Volume:
    """The volume, at ``where`` on each client."""

    hosts: Hosts
    where: Path
    bricks: tuple[Path, Path]

    def stop(self) -> None:
        """Stop the volume."""
        self._ask("stop", NAME, "force")

    def start(self) -> None:
        """Start the volume, with all bricks."""
        self._ask("start", NAME, "force")

    def kill(self, brick: Path) -> None:
        """Kill the process of a brick."""
        self.hosts.server.output_of("sh", "-ec", 'kill -KILL "$(cat /run/gluster/vols/*/*"$1".pid)"', "sh", brick.name)

    def await_healed(self) -> None:
        """Wait until both bricks are up and equal."""
        poll(lambda: self._unhealed() == ["0", "0"], "equal bricks", SLOW)

    def make(self) -> None:
        """Create the volume from the bricks, and start it."""
        self._ask("create", NAME, "replica", "2", *[f"{SERVER}:{brick}" for brick in self.bricks], "force")
        self._ask("set", NAME, "network.ping-timeout", str(PATIENCE))
        self.start()

    def _unhealed(self) -> list[str]:
        """The number of entries to heal on each brick; "-" where that is unknown."""
        self.hosts.server.run("gluster", "--mode=script", "volume", "heal", NAME)  # refused while a brick is down
        lines = self._ask("heal", NAME, "info").splitlines()
        return [line.rpartition(" ")[2] for line in lines if line.startswith("Number of entries:")]

    def _ask(self, *words: Word) -> str:
        return self.hosts.server.output_of("gluster", "--mode=script", "volume", *words).decode()


@contextlib.contextmanager
def volume(hosts: Hosts) -> Iterator[Volume]:
    """Create the volume and mount it. It is removed with the hosts."""
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
