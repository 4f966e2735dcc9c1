"""A library on a server that clients mount over the network: by sshfs, and by rclone over WebDAV."""

from collections.abc import Callable
from pathlib import Path

from tests.support.hosts import SERVER, Host, Hosts
from tests.support.users import need, output_of

PROGRAMS = ("sshfs", "sshd", "ssh-keygen", "rclone", "fusermount3", "ip")
KINDS = ("sshfs", "rclone")
KEEPS = 1
"""Seconds for which sshfs and rclone cache names and attributes (20 and 300 by default)."""
PATIENCE = 2
"""Seconds until they give up on a server that does not answer or cannot be reached."""
SLOW = 40.0
"""Seconds that a request may take that was made too early: it must time out first, and be repeated."""
_SSHD = """
ListenAddress {server}
HostKey {place}/host
AuthorizedKeysFile {place}/client.pub
PidFile none
StrictModes no
PermitRootLogin yes
Subsystem sftp internal-sftp
"""


def serve(hosts: Hosts, library: Path) -> dict[str, Callable[[Host, Path], None]]:
    """Serve a library, for as long as the hosts are there; returns by kind what mounts it on a client."""
    place, server = hosts.place, hosts.server
    for name in ("host", "client"):
        output_of("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name)
    (place / "sshd.conf").write_text(_SSHD.format(server=SERVER, place=place))
    (place / "rclone.conf").touch()
    rclone = ("--config", place / "rclone.conf", "--cache-dir", place / "cache", "--dir-cache-time", f"{KEEPS}s")
    server.start(lambda: server.listens(22), need("sshd"), "-D", "-e", "-f", place / "sshd.conf")
    address = ("--addr", f"{SERVER}:8080")
    server.start(lambda: server.listens(8080), "rclone", "serve", "webdav", library, *address, *rclone)

    def sshfs(client: Host, where: Path) -> None:
        known = f"IdentityFile={place}/client,UserKnownHostsFile=/dev/null,StrictHostKeyChecking=no,BatchMode=yes"
        alive = f"reconnect,ServerAliveInterval={PATIENCE},ServerAliveCountMax=1,ConnectTimeout={PATIENCE}"
        options = f"{known},{alive},dcache_timeout={KEEPS}"
        client.output_of("sshfs", "-o", options, f"root@{SERVER}:{library}", where)

    def webdav(client: Host, where: Path) -> None:
        url = ("--webdav-url", f"http://{SERVER}:8080")
        alive = ("--low-level-retries", "1", "--contimeout", f"{PATIENCE}s", "--timeout", f"{2 * PATIENCE}s")
        client.output_of("rclone", "mount", ":webdav:", where, "--daemon", *url, *alive, *rclone)

    return {"sshfs": sshfs, "rclone": webdav}
