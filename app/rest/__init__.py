"""The HTTP endpoints: authentication, administration, health, metrics, the contract and the console."""
