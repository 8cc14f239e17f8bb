"""From handlers to sockets: outboxes, the hub of live sockets, what is kept for the absent, resuming, presence."""
