"""What is remembered: who is there, who asked whom, who is in which session."""
