"""What ``experiments/report.py`` makes its page of: records, settings, tables, figures, template."""
