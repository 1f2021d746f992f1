"""The core against the scripts of etcd's Raft library: one command at a time, line by line.

``python -m tests.conformance DIRECTORY...`` runs every script below the directories.  The scripts
themselves are not part of this project; see :mod:`tests.conformance.scripts` for where they are
looked for.
"""
