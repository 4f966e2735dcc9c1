"""The command line: from arguments to settings, mounts, simulations and queries; messages and exit codes."""
