"""The contract: what a client may rely on, told from the handler table and the structs, so that it cannot drift."""
