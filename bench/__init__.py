"""uring beside etcd and pysyncobj: the same work on the same machine, in turn.  See __main__."""
