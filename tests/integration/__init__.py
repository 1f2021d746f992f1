"""Real processes on free ports of this machine."""
