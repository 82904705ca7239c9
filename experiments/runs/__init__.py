"""What recipes share: a run as plain values, the tables of PETs and methods, flags, grids of runs."""
