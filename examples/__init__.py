"""Programs that use uring as others would."""
