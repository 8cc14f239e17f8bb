"""The events: one file a domain, each with its handler table."""
