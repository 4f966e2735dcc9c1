"""The prose of the manual page, in roff (man(7)), a constant for each section. Read by ``manual`` only.

A hyphen that a reader may copy is written ``\\-``.
"""

NAME = r"""
mmirrorfs \- show overlapping trees as one, read\-only, each folder whole from one of them
"""

SYNOPSIS = r"""
.B mmirrorfs
.RI [ OPTIONS ]
.I SOURCE SOURCE... MOUNTPOINT
.br
.B mmirrorfs
.RI [ OPTIONS ]
.I SOURCE SOURCE...
.BI \-\-output\-high\~ DIR
.BI \-\-output\-low\~ DIR
.br
.B mmirrorfs
.I SOURCE:SOURCE... MOUNTPOINT
.BI \-o\~ OPT\fR[ ,OPT... ]
.br
.B mmirrorfs \-\-simulate
.I SOURCE SOURCE...
.br
.B mmirrorfs
.BI \-\-config\~ FILE
.br
.B mmirrorfs
.BI \-\-status\~ [MOUNTPOINT]\fR
|
.BI \-\-explain\~ PATH\fR
| \fB\-\-doctor\fR
"""

DESCRIPTION = r"""
.B mmirrorfs
mounts a
.IR view :
a read\-only FUSE filesystem that merges two or more
.I sources
down to a depth, and from there on takes every
.I folder
whole, from the source that is preferred.
A folder that is in several sources is never a mixture of them.
Nothing is written, neither to the sources nor beside them, and what changes in a source shows in the view by itself.
.PP
With FLAC files in
.I flac/Artist/Album
and mp3 files in
.IR mp3/Artist/Album ,
none of them complete, and a depth of 2, the view
.B high
has every album that is in either: the FLAC files where there are some, else the mp3 files.
The view
.B low
has the same names, and the mp3 files where there are some.
.IP 1. 4
The level of a path is the number of its components below the source.
A directory above the depth has the names of all the sources that have it.
.IP 2. 4
A directory at the depth is a folder.
It is taken whole from the first source, in the order of the view, that has it; with \fB\-\-skip\-empty\fR, from the
first that has it with a file in it, if there is one.
.IP 3. 4
Anything else down to the depth, a loose file say, is shown too, by the same order.
A directory beats it, whichever source that is in, so that all views have the same names down to the depth.
.IP 4. 4
Symbolic links are left out down to the depth and shown as links below it, unless they are followed.
.PP
Modes, owners and access control lists of the sources hold in the view.
Inode numbers are the view\(aqs own, the same after a remount.
.PP
The program returns when the view can be used, and goes on in the background, with a process for each view.
Where messages go then is said under LOGGING.
A source may be given as
.IB NAME = PATH\fR;
otherwise its name is that of its directory.
To unmount, use
.BR umount (8)
or, as a plain user,
.BR "fusermount3 \-u" .
"""

MOUNT_OPTIONS = r"""
After
.BR \-o ,
and in fstab, stand words with commas between them; a comma in a value is written
.BR \(rs, .
Every long option of the program is such a word, without its dashes, as
.IB name = value
or, where it takes no value, as
.I name
alone;
.B _
and
.B \-
are alike. What the command line says itself comes after what
.B \-o
says and so is stronger.
.PP
A view is mounted read\-only, without devices and set\-user\-ID programs, whatever is asked for.
.B remount
is refused: unmount, and mount again.
.PP
"""

CONFIG = r"""
Every long option is a key at the top of the file
.BR \-\-config .
.B [sources]
has the sources by their names, from high to low, and each
.B [[view]]
a mountpoint and who wins there.
Paths are relative to the file, and what the command line says is stronger.
.PP
.RS
.nf
depth = 2

[sources]
flac = "/srv/flac"
mp3 = "/srv/mp3"

[[view]]
mountpoint = "/mnt/high"

[[view]]
mountpoint = "/mnt/low"
prefer = "low"
.fi
.RE
"""

FSTAB = r"""
The sources stand in the first field with colons between them.
A colon in a path is written
.B \(rs:
there; a space, in any field, \(rs040.
.PP
.RS
.nf
/srv/flac:/srv/mp3  /mnt/high  fuse.mmirrorfs  prefer=high,depth=2,allow_other,nofail  0  0
.fi
.RE
.PP
.B allow_other
lets others than the user who mounts (here root) see the view.
Without
.B nofail
the boot ends in the emergency mode when a source is missing; with it nothing waits for the view, so a
program that needs it wants
.B RequiresMountsFor=/mnt/high
in its unit.
When a source is a mount itself, add
.BI x\-systemd.requires\-mounts\-for= SOURCE
for each such source, and when the first look at the sources takes long,
.BI x\-systemd.mount\-timeout= SECONDS\fR.
.PP
.B mount \-a
leaves a view alone that is mounted already.
A dead one, whose process was killed, is replaced.
"""

SYSTEMD = r"""
A service starts again what was killed, which a line in fstab does not.
The unit
.B mmirrorfs@.service
takes a view from
.IR /etc/mmirrorfs/NAME.conf :
.PP
.RS
.nf
SOURCES=\(aq/srv/flac:/srv/mp3\(aq
MOUNTPOINT=\(aq/mnt/high\(aq
OPTIONS=\(aqprefer=high,depth=2,allow_other\(aq
.fi
.RE
.PP
.B systemctl enable \-\-now mmirrorfs@NAME
mounts it now and at every start,
.B systemctl reload mmirrorfs@NAME
looks at the sources at once.
In a unit of your own use
.B Type=notify
with
.BR \-f ,
and neither
.B ProtectSystem=
nor
.B PrivateTmp=
nor anything else that gives the service a mount namespace: nobody else would see the view.
"""

STDERR = r"""
.PP
One line on standard error says what is wrong and what to do.
"""

SIGNALS = r"""
.TP
.B SIGHUP
Look at the sources now.
.TP
.BR SIGTERM ", " SIGINT
Unmount and end. What is being read has a second to finish.
.TP
.B SIGUSR1
Log what every thread and task is doing, for a bug report.
.PP
After SIGKILL the dead mount stays
.RI ( "Transport endpoint is not connected" );
mounting again replaces it, and
.B umount \-l
removes it.
"""

FILES = r"""
.TP
.IR /sbin/mount.fuse.mmirrorfs ", " /sbin/mount.mmirrorfs
Links to the program, for
.BR mount (8).
Without them the type
.B fuse.mmirrorfs
works all the same where
.B mmirrorfs
is in /usr/local/bin, /usr/bin or /bin; with them so does
.BR mmirrorfs .
.B \-\-install\-helper
makes them where no package did.
.TP
.IR /usr/local/share/man/man8/mmirrorfs.8 ", " /usr/local/lib/systemd/system/mmirrorfs@.service ,
.IR /usr/local/share/bash\-completion/completions/mmirrorfs ", " /usr/local/share/zsh/site\-functions/_mmirrorfs ,
.I /etc/fish/completions/mmirrorfs.fish
What a package has besides, put there by
.BR \-\-install\-helper .
.TP
.I /etc/fuse.conf
Has to have a line
.B user_allow_other
before a plain user may give
.BR allow_other .
.TP
.I /etc/mmirrorfs/NAME.conf
What
.B mmirrorfs@NAME.service
mounts.
"""

ATTRIBUTES = r"""
They are not listed, but
.B getfattr \-\-only\-values \-n
.I NAME
.I PATH
shows them.
.TP
.B user.mmirrorfs.source
The name of the source that this comes from; of a directory above the depth, all of them, one a line.
.TP
.B user.mmirrorfs.path
The real path.
.TP
.B user.mmirrorfs.role
Whether this is
.B merged
(a directory above the depth), a
.B folder
at the depth,
.B inside
one, or
.B loose
(no directory, and in none).
.TP
.B user.mmirrorfs.shadowed
The paths in the other sources that are hidden by this one;
.B user.mmirrorfs.skipped
has those that would win, were there a file in them.
.TP
.B user.mmirrorfs.explain
All of that, and by which rule, as JSON.
.TP
.B user.mmirrorfs.status
On the root of the view: how it is, as JSON, for monitoring. Which sources are lost, how many folders each of them
gives, when they were looked at last, how they are watched and why.
.TP
.B user.mmirrorfs.metrics
On the root of the view: the same for Prometheus, as
.B \-\-status \-\-format prometheus
prints it.
.TP
.B user.mmirrorfs.identity
On the root of the view: a hash of the sources and options that it was mounted with.
"""

EXAMPLES = r"""
.TP
.B mmirrorfs \-\-simulate \-\-depth 2 flac mp3
Who would win what; nothing is mounted.
.TP
.B mmirrorfs \-\-simulate \-\-depth 2 flac mp3 \-\-format html > plan.html
A page for a browser, on which near misses are ticked; it gives the lines of the configuration file for them.
.TP
.B mmirrorfs flac mp3 /mnt/high \-\-prefer high \-\-depth 2
One view.
.TP
.B mmirrorfs flac mp3 \-\-output\-high /mnt/high \-\-output\-low /mnt/low \-\-depth 2
Both.
.TP
.B mmirrorfs \-\-status /mnt/high
Whether its sources are there, and how many folders each of them wins.
.TP
.B mmirrorfs \-\-explain /mnt/high/Artist/Album
Why an album comes from where it comes.
.TP
.B mount \-t fuse.mmirrorfs /srv/flac:/srv/mp3 /mnt/low \-o prefer=low,depth=2,allow_other
The same through
.BR mount (8).
"""

LIMITS = r"""
Names are compared to the byte, unless
.B \-\-match
or
.B \-\-ignore
says otherwise: two spellings of one artist are two artists.
.PP
Programs that watch the view with
.BR inotify (7)
are told of changes in it where root mounts it, and by no other user's view; a rename is told as a removal and an
arrival.
.PP
A mountpoint may not be inside a source, nor a source inside a mountpoint.
.PP
A source that is lost (unplugged, or a server that does not answer) still shows what was last seen of it; its
files cannot be opened until it is back.
"""

JSON = r"""
What
.B \-\-json
prints, and what the command of
.B \-\-on\-change
reads, is UTF\-8 for every parser.
.B path
is a path as text.
Where the path is no UTF\-8, U+FFFD stands for what is none, and
.B path_b64
is there beside it, with the bytes in base64; otherwise it is not there.
.PP
The command of
.B \-\-on\-change
has a process group of its own, which ends with the view: SIGTERM, and SIGKILL a second later, also where the program
itself was killed.
Only what makes itself a process group of its own, with
.BR setsid (1)
say, stays.
"""

SEE_ALSO = r"""
.BR mount (8),
.BR mount.fuse3 (8),
.BR fusermount3 (1),
.BR fstab (5),
.BR systemd.mount (5),
.BR getfattr (1),
.BR fanotify (7),
.BR inotify (7),
.BR fuse (4)
"""
