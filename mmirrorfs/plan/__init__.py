"""What ``--simulate`` tells: who would win what, what needs a person's decision, and what would pair it. Pure."""
