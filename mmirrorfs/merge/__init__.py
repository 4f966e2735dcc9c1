"""The merge, the difference of two indexes, the pairing of names, and inode numbers. Pure: no I/O, no clock."""
