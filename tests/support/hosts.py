"""A server and two clients with a network between them, each a namespace of network, mounts and processes.

Rule 1: nothing of the machine is changed, and nothing outside is reached: addresses, mounts and servers are in here.
Rule 2: with the process that holds a host everything in it is killed, hung or not, and its mounts go.
Rule 3: the test itself touches no mount of a host: it asks processes there, which it can kill. What is mounted has the
same path on each host.
"""

import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.support.fresh import REFRESH, Observer, observer
from tests.support.kernel import TYPE, end_processes_of, processes_of
from tests.support.mounts import COMMAND, START, View, journal
from tests.support.nfs import Network
from tests.support.polling import exit_code, holds, poll
from tests.support.servers import unshared
from tests.support.trees import Tree, grow
from tests.support.users import Word, need, output_of, run

SERVER = "10.77.0.1"
"""The server's address."""
MOVING = "10.77.9.9"
"""An address that both clients have: who asks it from the server gets the one that ``Hosts.move`` was called with."""
FLAGS = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_SCRIPT = f"""
umount --lazy --internal-only --all --types {TYPE.decode()},fuse.hanging || true
for where in /run /var/lib/glusterd /var/log/glusterfs; do [ ! -d $where ] || mount -t tmpfs none $where; done
mkdir -p /run/mount /run/gluster /run/sshd
echo ready; cat; exit
"""
"""The shell stays: it is the first process, and has to reap what was killed, or that counts as alive."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host. ``pid`` is that of the process that holds it, ``place`` a directory that all hosts and the test have."""

    name: str
    pid: int
    place: Path
    started: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def beside(self, *command: Word) -> list[Word]:
        """What starts a program here that is the test's to kill."""
        namespaces = (f"--net=/proc/{self.pid}/ns/net", f"--mount=/proc/{self.pid}/ns/mnt")
        return [need("nsenter"), *namespaces, f"--wd={self.place}", "--", *command]

    def words(self, *command: Word) -> list[Word]:
        """What starts a program here that is killed with the host."""
        program, *namespaces = self.beside()[:-1]
        return [program, f"--pid=/proc/{self.pid}/ns/pid_for_children", *namespaces, "--", *command]

    def run(self, *command: Word) -> "subprocess.CompletedProcess[bytes]":
        """Run a program here."""
        return run(*self.words(*command))

    def output_of(self, *command: Word) -> bytes:
        """What a program here writes. Raises AssertionError when it fails."""
        return output_of(*self.words(*command))

    def listens(self, port: int) -> bool:
        """Whether the server does, at its address: asked on the server itself."""
        return self.run("bash", "-c", f"exec 3<>/dev/tcp/{SERVER}/{port}").returncode == 0

    def mount(self, where: Path, *words: Word) -> None:
        """Mount something here; a server that is just coming up is tried again."""
        poll(lambda: self.run("mount", *words, where).returncode == 0, f"{words} mounted", START)

    def plant(self, where: Path, tree: Tree) -> None:
        """Add a tree to what is in a directory, which is made."""
        with tempfile.TemporaryDirectory(dir=self.place) as staged:
            grow(Path(staged) / "tree", tree)
            self.output_of("sh", "-ec", 'mkdir -p "$2"; cp -r "$1/." "$2"', "sh", f"{staged}/tree", where)

    def network(self) -> Network:
        """This host, for an NFS server."""
        return _Here(self.pid, self)

    @contextlib.contextmanager
    def eyes(self) -> Iterator[Observer]:
        """Somebody who looks at what is mounted here."""
        with observer(*map(os.fsdecode, self.beside())) as eyes:
            yield eyes

    def start(self, ready: Callable[[], object], *command: Word) -> None:
        """Run a server here for as long as the host is there. It stays in the foreground, and is up when ``ready``."""
        with open(self.place / f"{self.name}.log", "ab") as log:
            process = self._started(self.words(*command), log)
            assert holds(lambda: process.poll() is not None or ready(), START), f"{command}: {self._log()}"
            assert process.poll() is None, f"{command}: {self._log()}"

    def _log(self) -> str:
        return (self.place / f"{self.name}.log").read_text(errors="replace")

    def _started(
        self, words: Sequence[Word], log: BinaryIO, environment: dict[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            words, cwd=self.place, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )
        self.started.append(process)
        return process

    @contextlib.contextmanager
    def view(self, *sources: Path, options: Sequence[str] = ()) -> Iterator[View]:
        """A view of depth 2 here. What it complains of fails the test, unless it was expected."""
        where, log = self.place / "view", self.place / f"view-{self.name}.log"
        where.mkdir(exist_ok=True)
        command: list[Word] = [*COMMAND, *sources, where, "--depth=2", REFRESH, *options, "-f", "-v"]
        with open(log, "wb") as file:
            environment = {**journal(file), "PYTHONPATH": os.fspath(Path(__file__).parents[2])}
            process = self._started(self.words(*command), file, environment)
        view = View(where, process.pid, log, process=process)
        try:
            holds(lambda: "is mounted" in view.text() or process.poll() is not None, START)
            assert process.poll() is None, view.text()
            yield view
            self.output_of("umount", where)
            assert exit_code(process, START) == 0, view.text()
            view.check_log()
        finally:
            self.run("umount", "--lazy", "--internal-only", where)


@dataclass(frozen=True)
class _Here(Network):
    host: Host

    def words(self, *command: Word) -> list[Word]:
        return self.host.beside(*command)


@dataclass(frozen=True)
class Side:
    """A host with a view: who looks at it there, and at its sources, which are in ``order``."""

    host: Host
    view: View
    eyes: Observer
    order: Sequence[Path]

    def path(self, inner: str) -> Path:
        """A path in the view."""
        return self.view.mountpoint / inner

    def differences(self) -> list[str]:
        """In what the view differs from the model."""
        return self.eyes.differences(self.view.mountpoint, self.order, 2)

    def numbers(self, inner: str = "") -> dict[str, int]:
        """The inode numbers of all that is in the view."""
        found: dict[str, int] = {}
        for name in self.eyes.names(self.path(inner)):
            path = os.path.join(inner, name)
            st = self.eyes.stat(self.path(path))
            found[path] = st.st_ino
            if stat.S_ISDIR(st.st_mode):
                found.update(self.numbers(path))
        return found

    def error_of(self, inner: str) -> int:
        """What reading a file fails with; 0 where it does not."""
        try:
            self.eyes.read(self.path(inner))
        except OSError as error:
            return error.errno or -1
        return 0

    def expect_loss(self) -> None:
        """The sources will be lost, and come back. Before that something in them may be asked for in vain."""
        self.view.may_say(r" cannot be read: (Input/output error|Transport endpoint is not connected)")
        for source in self.order:
            for what in ("lost", "back"):
                self.view.expect(rf"source {source.name} \(.*\) is {what}")

    @property
    def losses(self) -> int:
        """How many sources are lost, after what was said of them."""
        return self.view.text().count("is lost: ") - self.view.text().count("is back")


@dataclass(frozen=True, slots=True)
class Hosts:
    """The server, and the two clients that it has a link to each."""

    server: Host
    clients: tuple[Host, Host]
    place: Path

    def cut(self, client: Host) -> None:
        """Nothing gets to a client, or from it, from now on."""
        self._ip("link", "set", client.name, "down")

    def mend(self, client: Host) -> None:
        """It does again."""
        self._ip("link", "set", client.name, "up")

    def move(self, client: Host) -> None:
        """Have MOVING be this client."""
        self._ip("route", "replace", f"{MOVING}/32", "via", f"{_subnet(self.clients.index(client))}.2")

    def _ip(self, *words: Word) -> None:
        _ip(self.server, *words)


def _subnet(number: int) -> str:
    return f"10.77.{number + 1}"


def _ip(host: Host, *words: Word) -> None:
    """In its network alone: a network is given away by the number that a process has here."""
    output_of("nsenter", f"--net=/proc/{host.pid}/ns/net", "--", need("ip"), *words)


@contextlib.contextmanager
def shown(host: Host, order: Sequence[Path], options: Sequence[str] = ()) -> Iterator[Side]:
    """A view of these sources on a host."""
    with host.view(*order, options=options) as view, host.eyes() as eyes:
        yield Side(host, view, eyes, order)


@contextlib.contextmanager
def hosts() -> Iterator[Hosts]:
    """A server and two clients, and a directory for them. The test is skipped where the kernel does not let us."""
    tried = run("unshare", *FLAGS, need("ip"), "link", "add", "one", "type", "veth", "peer", "name", "two")
    if tried.returncode:
        pytest.skip(f"hosts with a network between them cannot be made here: {tried.stderr.decode().strip()}")
    place = Path(os.path.realpath(tempfile.mkdtemp(prefix="mmirrorfs-hosts-")))
    place.chmod(0o755)
    try:
        with contextlib.ExitStack() as stack:
            server, one, two = (_host(stack, name, place) for name in ("server", "one", "two"))
            _ip(server, "address", "add", f"{SERVER}/32", "dev", "lo")
            for number, client in enumerate((one, two)):
                _link(server, client, _subnet(number))
            yield Hosts(server, (one, two), place)
        poll(lambda: not processes_of(os.fsencode(place)), "the end of what was started on the hosts", START)
    finally:
        end_processes_of(os.fsencode(place))
        shutil.rmtree(place)


def _host(stack: contextlib.ExitStack, name: str, place: Path) -> Host:
    host = Host(name, stack.enter_context(unshared(*FLAGS, script=_SCRIPT)), place)
    stack.callback(_reap, host)
    _ip(host, "link", "set", "lo", "up")
    return host


def _reap(host: Host) -> None:
    os.kill(host.pid, 9)
    for process in host.started:
        exit_code(process, START)


def _link(server: Host, client: Host, subnet: str) -> None:
    """A link between the two. It is the server's end that is set down: that way the client keeps its routes."""
    peer = ("peer", "name", "eth0", "netns", str(client.pid))
    _ip(server, "link", "add", client.name, "type", "veth", *peer)
    _ip(server, "address", "add", f"{subnet}.1/24", "dev", client.name)
    _ip(server, "link", "set", client.name, "up")
    _ip(client, "address", "add", f"{subnet}.2/24", "dev", "eth0")
    _ip(client, "address", "add", f"{MOVING}/32", "dev", "lo")
    _ip(client, "link", "set", "eth0", "up")
    _ip(client, "route", "add", "default", "via", f"{subnet}.1")
