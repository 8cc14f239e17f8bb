"""The wiring: which parts an application has, and what runs while it serves."""
