"""Published tables: a folder a table, a TOML file a row, and how they are read and estimated."""
