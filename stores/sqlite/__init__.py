"""The stores of a single process that keeps what it knows in a file."""
