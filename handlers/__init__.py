"""What happens on each event, and what follows when a client goes."""
