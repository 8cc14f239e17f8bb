"""Admission control: which connections are accepted, and how much each client may send."""
