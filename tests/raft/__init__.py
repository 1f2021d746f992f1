"""The core by its paper: one test for each sentence that a node must live up to."""
