"""A partitioned counter service: each counter lives on the node that owns its vnode.

Counts survive everything that a disk survives.  A client names each increment, by its own name and
a number that grows; a node keeps the last number of each client with the counts, in the same
transaction, and hands both over.  So an increment that is asked for again, of whichever node and
after whatever crash, counts once.
"""
