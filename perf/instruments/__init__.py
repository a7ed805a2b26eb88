"""What the programs in this folder share: a broker under load, call stacks, and their picture."""
