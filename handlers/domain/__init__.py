"""What handlers of several domains share: membership, disconnects, how a request ends."""
