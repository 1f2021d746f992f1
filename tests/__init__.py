"""Tests of uring; run them with bin/test, or with trial from the checkout's root."""

from hypothesis import HealthCheck, settings

# How long an example takes says something about the machine, not about uring.
settings.register_profile(
    "uring", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("uring")
