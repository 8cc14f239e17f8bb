"""Running it: logs, metrics, periodic work."""
