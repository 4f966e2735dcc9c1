"""mmirrorfs: overlapping trees shown as one, merged to a depth, from there on folder by folder from the best source."""

__version__ = "0.2.0"
