"""The manual page on how names are paired, in roff as ``manual_text``. Read by ``manual`` only."""

NAMES = r"""
Names of different sources are one, down to the depth, where they are equal by
.BR \-\-match ,
after what
.B \-\-ignore
matches was taken out of them.
The spelling shown is that of the highest source.
Where two names of one source fall together, one is paired and the other stays visible beside it.
A name that is no UTF\-8 is compared by its bytes.
.PP
With
.B \-\-match=loose
these do not count: case, Unicode form and diacritics; punctuation, blanks and underscores, unless there is nothing
else; whether it is &, + between words, or and; an article, in front or behind a comma; place and brackets of a year;
marks of format and source in brackets, such as [FLAC], (V0), [24\-96], {WEB}.
These do: numbers and numerals; years that differ; editions, such as Deluxe, Live, Mono; symbols, such as + and $;
whatever else is in brackets.
A year, or one of the articles the, a and an, that only one of two names has keeps them apart only where there is a
third of that name, or one source has both.
.PP
Pairs can be settled by hand in the configuration file, on top of any match:
.PP
.RS
.nf
[[same]]
names = ["White Album", "The Beatles (White Album)"]
in = "The Beatles"

[[apart]]
names = ["Nirvana", "Nirvana (1967)"]
.fi
.RE
.PP
.B in
is a directory of the view, in any spelling that pairs with it, or "/" for its root; without it an entry holds
everywhere.
A name may be in one
.B [[same]]
and one
.BR [[apart]] ;
where they contradict each other the program ends with an error.
A name that no source has is a warning.
.PP
So that no name can keep the program busy, the expression of
.B \-\-ignore
has at most 200 characters, repeats single characters and [classes] but no groups, has at most two repeats (*, +,
{m,n}), and beside these at most 16 alternatives (by | and ?, multiplied), and neither a reference to a group nor a (?
but (?: and (?i).
"""
