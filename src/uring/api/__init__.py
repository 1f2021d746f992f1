"""The doors: REST and WebSocket.  They know the node only as a Gateway."""

import os

# Autobahn reads this once, at its import: its native extension triples the message rate.
os.environ.setdefault("AUTOBAHN_USE_NVX", "1")
