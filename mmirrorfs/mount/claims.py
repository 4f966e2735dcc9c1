"""Which process serves which view, readable even if that process is stopped or busy.

Rule 1: a daemon claims a mount by listening on an abstract socket named after the mount and the view's identity. It
never has to accept a connection.
Rule 2: a claim counts only if the listening user is the one who mounted the view.
Rule 3: a daemon in another network namespace has no visible claim.

Any thread; never blocks, raises nothing.
"""

from mmirrorfs.mount.reference import Reference
from mmirrorfs.mount.sockets import connected, listening, peer


def claim(mount: Reference, identity: str) -> None:
    """Claim this view on the mount, until this process exits."""
    if (held := listening(_name(mount, identity))) is not None:
        held.detach()


def is_claimed(mount: Reference, identity: str, owner: int) -> bool:
    """Whether a process of user ``owner`` has claimed this view on the mount."""
    connection = connected(_name(mount, identity))
    if connection is None:
        return False
    with connection:
        return peer(connection)[1] == owner


def _name(mount: Reference, identity: str) -> str:
    return f"{mount.unique or f'{mount.device}.{mount.id}'}/{identity}"
