"""Stand-ins for time, disk and network, shared by the tests."""
