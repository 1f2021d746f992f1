"""Tests of uring; run them with bin/test, or with trial from the checkout's root."""
