"""What happens: one file a domain, each with its table of events."""
