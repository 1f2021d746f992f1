#!/usr/bin/env python3
"""Starts a nascent 5-node test cluster; wipes the data of its nodes first."""

from checkout import prepare

if __name__ == "__main__":
    prepare("twisted", "treq", "plyvel")
    from contrib.scripts import test_cluster

    test_cluster("5u.json")
