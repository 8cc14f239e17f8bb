"""REST: authentication, health, metrics."""
