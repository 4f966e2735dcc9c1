"""The benchmark: compares mmirrorfs with its peers on one library, in rounds, as black boxes."""
