"""Studies of many runs and looks into single ones, each started by ``experiments/study.py NAME``."""
