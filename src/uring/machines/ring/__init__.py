"""The ring: who is in it, who owns which vnode, what moves when it changes, and how it moves."""
