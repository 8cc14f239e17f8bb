"""From bytes to handlers: transports, the gateway, dispatch."""
