"""What a client may do: its connection, the dispatch of its events, the expiry of its token, the end of all of them."""
