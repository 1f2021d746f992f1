"""Watches over real processes: nothing is missed, and nothing told twice."""

from __future__ import annotations

import random

from tests.integration.base import ProcessTestCase
from tests.integration.watching import Trial


class WatchingTests(ProcessTestCase):
    async def test_lost_connections_and_killed_nodes(self) -> None:
        """A subscriber that is thrown out again and again sees each change exactly once."""
        cluster = await self.formed(3)
        trial = Trial(cluster, self.reactor, 2000, 15, 2, random.Random(7))
        await trial.run()
        self.assertEqual(trial.mistakes(), [])
        self.assertEqual((trial.killed, len(trial.seen)), (2, 2000))
        self.assertGreaterEqual(trial.dropped, 10)
