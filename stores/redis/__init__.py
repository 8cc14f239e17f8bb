"""The stores of many nodes: records in Redis or Valkey, a replica of them on each node."""
