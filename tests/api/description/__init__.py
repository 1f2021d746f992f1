"""The documents, held against the code and against the doors."""
