"""A flood at the doors of one node, while others use the cluster."""
