"""The disk: the replicated log and the state of the machines, in two LevelDBs.

``docs/DISK.md`` lists every key and what each crash point leaves.  This room writes what it is
told and checks what it reads; it decides nothing about terms or votes.
"""
