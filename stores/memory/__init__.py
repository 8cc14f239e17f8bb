"""The stores of a single process, in memory; what changes goes to a journal."""
