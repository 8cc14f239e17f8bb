"""From bytes to frames: transports, the handshake, HTTP limits, the codec."""
