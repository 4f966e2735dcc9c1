"""All system calls whose outcome differs between a view and the plain folder, and why. To be kept short."""

from tests.support.parity import Difference
from tests.support.parity_tree import DIRECTORIES, FILES, LINKS, MERGED, SPECIAL, TO_DIRECTORIES, TO_FILES

OPEN = TO_FILES | TO_DIRECTORIES
THERE = FILES | DIRECTORIES | LINKS | SPECIAL
REACHED = OPEN | SPECIAL
DESCRIBED = {"file", "folder", "directory", "loose file", "merged directory"}
NOT_EMPTY = TO_FILES - {"empty file"}
DATA = NOT_EMPTY - {"sparse file"}


def _all(why: str, subjects: set[str], *calls: str) -> list[Difference]:
    return [Difference(call, frozenset(subjects), why) for call in calls]


IDENTITY = [
    *_all("a filesystem of its own", THERE, "lstat's st_dev"),
    *_all("made here, the same at every mount", THERE, "lstat's st_ino", "the bytes of name_to_handle_at"),
    *_all("FUSE has no times of birth for this program to tell", THERE, "statx's time of birth"),
    *_all("a filesystem of its own, with nothing free", REACHED, "statfs' f_type", "statfs' f_fsid"),
    *_all("the sums over the sources, nothing free", REACHED, "statvfs: blocks and files"),
    *_all("what the view tells of itself", OPEN - LINKS, "getxattr of what a view tells"),
]
MERGING = [
    *_all("not counted", MERGED, "lstat's st_nlink"),
    *_all("the newest of all sources", {"merged directory", "root"}, "lstat's st_mtime_ns", "lstat's st_ctime_ns"),
    *_all("the names of all sources", {"merged directory", "root"}, "getdents, without dots"),
]
LISTING = [
    *_all("in the order of the bytes", TO_DIRECTORIES, "getdents' order"),
    *_all("no . and ..", TO_DIRECTORIES, "getdents"),
    *_all("no . and ..", {"empty directory"}, "getdents into 4 bytes", "getdents into 64 bytes"),
    *_all(
        "a directory's size is its end, not a position in its listing",
        TO_DIRECTORIES,
        "lseek SEEK_END",
        "lseek SEEK_END past it",
        "lseek SEEK_DATA past the end",
        "lseek SEEK_HOLE at 0",
        "lseek SEEK_HOLE past the end",
    ),
]
ATTRIBUTES = [
    *_all("security attributes do not pass", DESCRIBED, "listxattr", "getxattr of a security one"),
    *_all(
        "this program is not asked",
        OPEN,
        "ioctl FS_IOC_GETFLAGS",
        "ioctl FS_IOC_GETVERSION",
        "ioctl FS_IOC_FSGETXATTR",
        "ioctl FS_IOC_FIEMAP",
        "ioctl FS_IOC_SETVERSION",
        "ioctl FS_IOC_ENABLE_VERITY",
    ),
    *_all("there are no blocks", DATA, "ioctl FIBMAP"),
]
READING = [
    *_all("holes cannot be asked for: all is data", {"sparse file"}, "lseek SEEK_DATA at 0", "lseek SEEK_HOLE at 0"),
    *_all("the kernel knows no largest file here", TO_FILES, "lseek SEEK_SET past all files"),
    *_all("FUSE does not tell what is in memory", TO_FILES, "preadv2 RWF_NOWAIT", "preadv2 RWF_DONTCACHE"),
    *_all("need not be aligned", DATA, "O_DIRECT, at no multiple of a block", "O_DIRECT, of no multiple of a block"),
    *_all("not the same filesystem", TO_FILES, "copy_file_range to the same disk"),
    *_all("not the same filesystem", OPEN | {"FIFO", "loose FIFO"}, "FICLONE"),
    *_all("FUSE can be polled: ready at once", TO_FILES, "epoll"),
]
BETWEEN = [
    *_all("the file in the source is another", TO_FILES, "a lease of what is opened in the source"),
    *_all("the socket in the source is another", {"socket"}, "connect to a socket of the source"),
    *_all("the FIFO in the source is another", {"FIFO", "loose FIFO"}, "write to a FIFO that is read in the source"),
    *_all("locks are the view's own", REACHED - {"socket", "device"}, "flock of what is locked in the source"),
    *_all("the kernel is not told", REACHED - {"socket"}, "inotify of what happens in the source"),
]

DIFFERENCES: list[Difference] = [*IDENTITY, *MERGING, *LISTING, *ATTRIBUTES, *READING, *BETWEEN]

ON_OTHER_DISKS: list[Difference] = [
    *_all("each filesystem has its own idea of a directory's size", TO_DIRECTORIES, "lseek SEEK_DATA at 0"),
    *_all("tmpfs has no blocks either, and says so", TO_FILES, "ioctl FIBMAP"),
]
"""In addition where the sources are not on ext4; seen on tmpfs."""

_ASKED = (
    "access W_OK",
    "faccessat2 W_OK, AT_EACCESS",
)
_OPENED = (
    "open O_WRONLY",
    "open O_RDWR",
    "open O_WRONLY | O_APPEND",
    "open O_WRONLY | O_CREAT",
    "open O_WRONLY | O_DIRECT",
    "truncate",
    "fallocate",
    "mmap MAP_SHARED, PROT_WRITE of O_RDWR",
)
_ITSELF = "that the filesystem is read-only comes before what the mode says, as on a disk that is mounted so"

OF_A_PLAIN_USER: list[Difference] = [
    *_all(_ITSELF, OPEN, *_ASKED),
    *_all(_ITSELF, OPEN - LINKS, "faccessat2 W_OK, AT_SYMLINK_NOFOLLOW"),
    *_all(_ITSELF, TO_FILES, *_OPENED),
    *_all(_ITSELF, TO_FILES - LINKS, "open O_WRONLY | O_NOFOLLOW"),
]
"""In addition where the caller has no write permission: EROFS, while a read-only bind mount gives EACCES."""
