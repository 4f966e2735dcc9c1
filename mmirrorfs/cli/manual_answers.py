"""The manual page on what a live view answers, in roff as ``manual_text``. Read by ``manual`` only."""

EXPLAINING = r"""
.B \-\-explain
answers for any path of a live view, and of a source of one, there or not; of a path of a source, for each view that has
it. It says whether that is
.IR shown ,
and from where;
.IR hidden ,
by which source and which rule;
.I excluded
by
.BR \-\-exclude ;
a
.I link
that is left out, or is in the way;
.I unseen
so far, since the source was not scanned yet;
.I lost
with its source, which counts as empty
.RB ( \-\-on\-missing=fallback );
.I absent
from all sources, with the names that are nearest to it;
.IR unknown ,
as it was never read, and cannot be now; or that the view is
.IR dead ,
with the line that starts it again.
These are the words of
.B state
in JSON.
The line is noted in
.IR /run/mmirrorfs ,
or in
.I $XDG_RUNTIME_DIR/mmirrorfs
of a plain user, for as long as the view is mounted; nobody else may read it.
.PP
Besides it says what cannot be read, since when, and by which error; which source is lost or does not answer; and what
is called nearly the same in another source, and what would pair the two
.RB ( \-\-match ,
.B \-\-ignore
or a
.B [[same]]
of the configuration file), or which
.B [[apart]]
keeps them apart; and which folders were skipped, being empty
.RB ( \-\-skip\-empty ;
in JSON
.BR skips ).
.PP
Root and the user who mounted the view are answered by the daemon itself.
Others are answered through the view: for what is there, as far as they may enter.
"""

LOGGING = r"""
In the foreground messages go to standard error.
In the background, and in both with
.BR \-\-log ,
they go, once the view can be used, to the first of these that there is:
.IP \(bu 4
the file of
.BR \-\-log ,
which nobody but its user and group may read when it is made here, and which may not be inside a source or a view.
It may be renamed at any time, by
.BR logrotate (8)
say; a new one is begun with the next message.
.IP \(bu 4
The journal.
Messages have the fields
.BR MMIRRORFS_VIEW ,
.B MMIRRORFS_EVENT
(scan, added, removed, changed, lost, back, hung, answers, crawl, unreadable)
and, by the event,
.BR MMIRRORFS_SOURCE ,
.BR MMIRRORFS_PATH ,
.B MMIRRORFS_ENTRIES
and the like.
.IP \(bu 4
Syslog, as a daemon.
.IP \(bu 4
A file in
.IR /run/mmirrorfs ,
or in
.I $XDG_RUNTIME_DIR/mmirrorfs
of a plain user, which
.B \-\-status
names. It has a MiB at the most, and the one before it is kept; both go when the view ends in order.
.PP
Without
.B \-v
there are warnings alone: what is lost and back, what cannot be read, what is not as it should be.
Of messages of one kind only so many are said in a minute; those that are left out are counted, and the number is said.
.B \-\-status \-\-json
has the last 50 warnings.
"""

ASKING = r"""
.B \-\-status
of a view says what it was told, who serves it and since when, and of each source how many folders it has and how many
of them are shown or empty
.RB ( \-\-skip\-empty ),
whether it is there, how its changes are found and why so, how far reading ahead is, and what is
stuck in it; the last change, what is open, where messages go, and the last warnings.
.B \-\-json
has it all:
.B options
are those that the view has, by their names,
.B warnings
the last 50, and times are in seconds since the epoch.
Options that stand beside
.B \-\-status
are compared with the view\(aqs, and what differs is said
.RB ( differs ).
.PP
Without a mountpoint all views of this machine are listed, a line each, or as a list in JSON; one that nothing serves
any more has the
.B state
.IR dead .
.PP
.B \-\-format prometheus
prints metrics in the text format of Prometheus: of that view, or of all in one text, with the label
.BR view .
One that does not answer, or is not mounted there, has
.B mmirrorfs_up
0, and that is no error: the exit code is 0, and why it is so is said on standard error.
.B mmirrorfs_loop_longest_pause_seconds
is the longest time, in the last five to ten minutes, in which the view did not look for requests.
.PP
Root may ask a view of any user; a plain user his own, and others that let him in, of which he is told less.
"""

DOCTOR = r"""
.B \-\-doctor
looks at what views need of this machine (libfuse, /dev/fuse, who may mount and for whom, the kernel, fanotify and the
inotify watches that are left,
.BR mount (8)\(aqs
way to the program, where messages go), at the lines of fstab, and at all views: dead ones, views over views, sources
that are lost or do not answer, and sources and views that lie in each other.
Each is a line that begins with
.BR ok ,
.B note
(it could be better) or
.B bad
(it does not work), and what to do stands below it.
Nothing is changed.
.PP
Whoever misses something asks
.B \-\-doctor
first,
.B \-\-status
of the view next, and then
.B \-\-explain
of the path.
"""
