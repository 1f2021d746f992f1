"""``uring doctor``: looks at a cluster and at this machine, names what is wrong, and what to type.

- ``look`` asks nodes, ``local`` and ``procfs`` look at this machine: facts, and no opinion.
- ``picture`` puts together what several nodes tell of one cluster.
- ``diagnosis``, ``members`` and ``strangers`` draw conclusions, from the picture alone.
- ``command`` is the command, ``shown`` prints.
"""
