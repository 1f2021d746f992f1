"""What strangers send, case by case: docs/SECURITY.md says what protects against it."""
