"""An NFS server (Ganesha) with a view as its export, and its clients, in a network namespace of their own.

The server also has its own /run, for its portmapper and its state. As a program, this is a client that opens a file and
keeps its handle: for each line on stdin it prints what it reads.
"""

import contextlib
import ctypes
import ctypes.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.kernel import TYPE
from tests.support.servers import serving, unshared
from tests.support.users import Word, need, run

PROGRAMS = ("ganesha.nfsd", "rpcbind", "nfs-ls", "nfs-cat", "nfs-cp", "ip", "unshare", "nsenter")
needs_ganesha = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)) or not list(Path("/usr/lib").glob("*/ganesha/libfsalvfs.so")),
    reason="NFS-Ganesha is needed: apt install nfs-ganesha nfs-ganesha-vfs libnfs-utils rpcbind iproute2",
)
_CONFIGURATION = """NFS_CORE_PARAM {{ Protocols = 3, 4; MNT_Port = 20048; Enable_NLM = false; Enable_RQUOTA = false;
    allow_set_io_flusher_fail = true; }}
NFSv4 {{ Graceless = true; RecoveryBackend = fs; RecoveryRoot = {place}/recovery; }}
EXPORT {{ Export_Id = 1; Path = {path}; Pseudo = /music; Protocols = 3, 4; Access_Type = {access};
    Squash = No_Root_Squash; SecType = sys; Attr_Expiration_Time = 1; FSAL {{ Name = VFS; fsid_type = Major64; }} }}
"""
"""Major64: otherwise handles contain the view's device number, which changes with each mount."""
_SERVER = """
while read -r _ where type _; do
    [ "$type" != "$1" ] || [ "$where" = "$2" ] || umount --lazy --internal-only "$where"
done </proc/self/mounts
mount -t tmpfs none /run
mkdir -p /run/rpcbind /run/ganesha
rpcbind -f -w &
for _ in $(seq 100); do [ -S /run/rpcbind.sock ] && break; sleep 0.05; done
exec ganesha.nfsd -F -L "$3/output" -f "$3/ganesha.conf" -p "$3/pid"
"""
_UP = "NFS SERVER INITIALIZED"


@dataclass(frozen=True)
class Network:
    """A network namespace, which the process ``pid`` keeps."""

    pid: int

    def words(self, *command: Word) -> list[Word]:
        """The command line that runs a program in here."""
        return [need("nsenter"), f"--net=/proc/{self.pid}/ns/net", "--", *command]

    @contextlib.contextmanager
    def exported(self, place: Path, view: Path, access: str = "RO") -> Iterator[None]:
        """Export a view while the block runs."""
        (place / "recovery").mkdir(parents=True, exist_ok=True)
        (place / "ganesha.conf").write_text(_CONFIGURATION.format(place=place, path=view, access=access))
        output = place / "output"
        output.unlink(missing_ok=True)
        flags = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        words = self.words(need("unshare"), *flags, "sh", "-ec", _SERVER, "sh", TYPE, view, place)
        with serving(place, lambda: _UP in output.read_text(errors="replace"), *words, end=signal.SIGKILL):
            yield

    def nfs(self, program: str, url: str, *words: Word) -> tuple[int, bytes]:
        """Run a program of libnfs, with ``words`` before the address; returns exit code and output."""
        done = run(*self.words(program, *words, url))
        return done.returncode, done.stdout + done.stderr

    @contextlib.contextmanager
    def kept(self, view: Path, path: str, server: str = "127.0.0.1") -> Iterator["Kept"]:
        """A file that a client keeps open by NFSv3, that is, by its handle."""
        words = self.words(sys.executable, "-m", "tests.support.nfs", f"nfs://{server}{view}?version=3", path)
        top = Path(__file__).parents[2]
        with subprocess.Popen(words, cwd=top, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            try:
                yield Kept(process)
            finally:
                process.kill()


@dataclass(frozen=True)
class Kept:
    """A client that keeps a handle."""

    _process: "subprocess.Popen[bytes]"

    def read(self) -> bytes:
        """Read the file, which has one line, from the server; an error as text."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().rstrip(b"\n")


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A network namespace with nothing but a loopback."""
    with unshared("--net", script="ip link set lo up") as pid:
        yield Network(pid)


class _Url(ctypes.Structure):
    """struct nfs_url of libnfs."""

    _fields_ = (("server", ctypes.c_char_p), ("path", ctypes.c_char_p), ("file", ctypes.c_char_p))


def _keep(address: str, path: str) -> None:
    libnfs = ctypes.CDLL(ctypes.util.find_library("nfs"))
    libnfs.nfs_init_context.restype = ctypes.c_void_p
    libnfs.nfs_parse_url_dir.restype = ctypes.POINTER(_Url)
    libnfs.nfs_get_error.restype = ctypes.c_char_p
    context = ctypes.c_void_p(libnfs.nfs_init_context())

    def checked(answer: int) -> int:
        if answer < 0:
            raise OSError(-answer, libnfs.nfs_get_error(context))
        return answer

    url = libnfs.nfs_parse_url_dir(context, address.encode()).contents
    handle, buffer = ctypes.c_void_p(), ctypes.create_string_buffer(100)
    checked(libnfs.nfs_mount(context, url.server, url.path))
    checked(libnfs.nfs_open(context, path.encode(), 0, ctypes.byref(handle)))
    for _ in sys.stdin:
        try:
            size = checked(libnfs.nfs_pread(context, handle, ctypes.c_uint64(0), ctypes.c_uint64(len(buffer)), buffer))
            print(os.fsdecode(buffer.raw[:size]), flush=True)
        except OSError as error:
            print(error, flush=True)


if __name__ == "__main__":
    _keep(*sys.argv[1:])
