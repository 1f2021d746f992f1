"""The doors, with a gateway that is no node."""
