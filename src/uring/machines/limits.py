"""Bounds of what a command may hold, the same at the doors and in the machines."""

KEY_BYTES_MAX = 4096
"""A key is carried in URLs and in every index block; longer ones are documents, not names."""

VALUE_BYTES_MAX = 1024 * 1024
"""One value must fit many times into what one peer frame may hold."""

NODE_NAME_BYTES_MAX = 255
"""Names of ring nodes are repeated in every event of the ring."""

RING_SIZE_MAX = 2**24
"""Vnodes; a reply that names each of them already takes 130 MB."""

RING_NODES_MAX = 1024
"""Nodes of one ring; each change of the ring writes and shows all of them."""

COMMAND_BYTES_MAX = 2 * VALUE_BYTES_MAX + KEY_BYTES_MAX + 64
"""One encoded command: a compare-and-swap holds two values, a key, and some framing."""
