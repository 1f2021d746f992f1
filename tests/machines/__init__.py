"""Tests of the replicated machines: plain calls over a state in memory."""
