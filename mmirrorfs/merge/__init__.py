"""The product without I/O: merging, comparing, pairing names, numbering inodes. Pure: no I/O, no clock, no threads."""
