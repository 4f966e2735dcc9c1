"""Which view a process serves, told in a way that needs no answer from it: for a daemon that is stopped, or busy.

The daemon listens on a name that is made of its mount and of the view's identity. A claim counts only if the user who
made it is the one who mounted the view. A daemon in another network namespace cannot be asked: no claim is found.
"""

from mmirrorfs.mount.reference import Reference
from mmirrorfs.mount.sockets import connected, listening, peer


def claim(mount: Reference, identity: str) -> None:
    """Claim to serve this view on the mount, from now until this process ends."""
    if (made := listening(_name(mount, identity))) is not None:
        made.detach()


def is_claimed(mount: Reference, identity: str, owner: int) -> bool:
    """Whether a process of user ``owner`` claims to serve this view on the mount."""
    connection = connected(_name(mount, identity))
    if connection is None:
        return False
    with connection:
        return peer(connection)[1] == owner


def _name(mount: Reference, identity: str) -> str:
    return f"{mount.unique or f'{mount.device}.{mount.id}'}/{identity}"
