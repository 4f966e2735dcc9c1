"""The command line: options, checks, messages, exit codes."""
