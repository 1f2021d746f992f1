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

NODE_WEIGHT_MAX = 65_535
"""Weights are for ratios; twice the largest machine is not a million times the smallest."""

REPLICAS_MAX = 16
"""Neighbours that hold a vnode's replicas; each more makes every change dearer."""

ADDRESS_BYTES_MAX = 300
"""Where a node of the ring can be reached: a host name and a port."""

INSTANCE_BYTES_MAX = 64
"""What tells one life of a node of the ring from others of its name."""

HANDOFFS_MAX = 1024
"""Hand-offs at a time; each that begins looks at all of them."""

COMMAND_BYTES_MAX = 2 * VALUE_BYTES_MAX + KEY_BYTES_MAX + 64
"""One encoded command: a compare-and-swap holds two values, a key, and some framing."""

TXN_OPERATIONS_MAX = 128
"""Comparisons, and operations of one branch: as many as etcd allows; they apply in one go."""

LEASES_MAX = 100_000
"""Leases at a time: a new leader reads all of them."""

LEASE_KEYS_MAX = 10_000
"""Keys of one lease: they are removed in one go when it ends."""

LEASE_TTL_MS_MIN = 1000
LEASE_TTL_MS_MAX = 30 * 24 * 3600 * 1000
"""A second is the least that outlasts an election; a month is no lease."""

ONCE_KEY_BYTES_MAX = 255
ONCE_KEPT_MAX = 65_536
ONCE_KEPT_BYTES_MAX = 16 * 1024 * 1024
"""Answers that are kept for repeated idempotency keys: the newest of each bound."""

TOKENS_MAX = 1024
TOKEN_PREFIXES_MAX = 16
TOKEN_NAME_BYTES_MAX = 255
"""Every node holds all tokens in memory, and reads them again when one changes."""

TOKEN_DIGEST_BYTES = 32

LIST_COUNT_MAX = 1000
LIST_BYTES_MAX = 1024 * 1024
"""One page of a list: read and encoded within a reactor turn."""
