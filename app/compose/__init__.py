"""The wiring: creates the parts of an application and runs its background work."""
