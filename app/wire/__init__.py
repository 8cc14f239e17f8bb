"""From bytes to frames: the transports, the handshake, HTTP limits and the codec."""
