"""Real processes under faults, and clients whose histories are checked."""
