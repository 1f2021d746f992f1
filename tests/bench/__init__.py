"""The pure parts of the measurement beside other systems."""
