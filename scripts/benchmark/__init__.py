"""The benchmark: mmirrorfs beside its peers on one library, in rounds. It meets every one of them from the outside."""
