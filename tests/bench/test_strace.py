"""What strace writes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.strace import parse_counts

TABLE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 99.00    0.012345          61      2010           fdatasync
  1.00    0.000123          12        10         2 fsync
------ ----------- ----------- --------- --------- ----------------
100.00    0.012468          61      2020         2 total
"""


class ParseTests(SynchronousTestCase):
    """The table of strace -c."""

    def test_counts(self) -> None:
        """Calls are counted by name, with and without errors; the total is none of them."""
        self.assertEqual(parse_counts(TABLE), {"fdatasync": 2010, "fsync": 10})

    def test_nothing(self) -> None:
        """A process that never synced has an empty table."""
        self.assertEqual(parse_counts(""), {})
