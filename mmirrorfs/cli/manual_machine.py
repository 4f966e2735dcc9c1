"""The manual page on what a view may do on its machine, in roff as ``manual_text``. Read by ``manual`` only."""

PRIVILEGES = r"""
A view that root mounts keeps CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH and CAP_FOWNER, and with
.B \-\-announce
or
.B \-\-log
CAP_DAC_OVERRIDE, which is in effect only in a thread that announces or opens the file, and meanwhile.
All other capabilities are given up for good before the first request is answered, in the bounding set too, and
.I no_new_privs
is set
.RB ( capabilities (7),
.BR prctl (2)).
Not so with
.BR \-\-on\-change :
the command is run with all that mmirrorfs was started with, so that the bounding set stays as it was.
What reads ahead keeps still less.
.PP
A plain user has nothing to give up, and what is not there, in a container say, is not missed.
.PP
The unit
.B mmirrorfs@.service
allows no more than that from the start.
Where an
.B \-\-on\-change
command uses the network, give the unit
.B RestrictAddressFamilies=AF_INET AF_INET6
and
.B IPAddressDeny=
in a drop\-in.
"""
