"""Bounds of what a command may hold, the same at the doors and in the machines."""

KEY_BYTES_MAX = 4096
"""A key is carried in URLs and in every index block; longer ones are documents, not names."""

VALUE_BYTES_MAX = 1024 * 1024
"""One value must fit many times into what one peer frame may hold."""

NODE_NAME_BYTES_MAX = 255
"""Names of ring nodes are repeated in every event of the ring."""

RING_SIZE_MAX = 2**24
"""Vnodes; a reply that names each of them already takes 130 MB."""
