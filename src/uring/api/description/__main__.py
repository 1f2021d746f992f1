"""Writes the documents: python -m uring.api.description."""

from __future__ import annotations

from pathlib import Path

from uring.api.description.made import DOCUMENTS, text

if __name__ == "__main__":
    for name in DOCUMENTS:
        Path(__file__).with_name(name).write_bytes(text(name))
