"""One node on a SQLite file: the memory engine, and a journal of what a restart has to find."""
