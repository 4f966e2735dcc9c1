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
.PP
Besides it says what cannot be read, since when, and by which error; which source is lost or does not answer; and what
is called nearly the same in another source, and what would pair the two.
.PP
Root and the user who mounted the view are answered by the daemon itself.
Others are answered through the view: for what is there, as far as they may enter.
"""
