"""A peer in a terminal, for trying things by hand; it stands on the Python client."""
