"""What ``--simulate`` reports: the winners, near misses and what would pair them, and remarks. Pure."""
