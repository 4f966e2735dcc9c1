"""The manual page on how changes in the sources are found, in roff as ``manual_text``. Read by ``manual`` only."""

WATCHING = r"""
A source is
.I watched
where the kernel reports changes in it: they show within a fraction of a second, and what is known of it is not asked
for again; the kernel caches it for an hour.
Otherwise it is
.IR polled :
changes show within the time that
.B \-\-refresh
gives.
Each filesystem in a source is decided on by itself, and
.B \-\-status
and the log say which it is and why.
.IP \(bu 4
For root, ext4, xfs, btrfs with its subvolumes and tmpfs are watched by
.BR fanotify (7).
.IP \(bu 4
For a plain user, on overlayfs, and where the kernel has no fanotify or the filesystem no file handles, directories are
watched by
.BR inotify (7),
within half of the watches that the user has left
.RI ( fs.inotify.max_user_watches ).
Where these do not do, the rest is polled, and the log says so.
.IP \(bu 4
Network and FUSE filesystems, and whatever a kernel with neither of both has, ZFS for instance, are polled.
.PP
No event tells of a change that is made under another name of a file with several hard links (such files are polled), of
writing through
.BR mmap (2)
until the file is closed, of what a kernel NFS server writes under a handle whose name the kernel does not know, and of
what other machines do on a network filesystem (polled).
So everything that is watched is scanned again once in the time that
.B \-\-recheck
gives, at idle I/O priority.
.PP
A disk that is watched is left asleep while nothing changes in it and nobody opens a file.
What wakes it is
.B \-\-recheck
(give a day, or 0),
.B \-\-refresh
where it is polled (give a longer time, or 0 and SIGHUP), and access times (mount it with
.BR noatime ).
A pool on FUSE is polled; the disks that it consists of can be watched.
"""
