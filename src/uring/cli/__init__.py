"""The command line client: ``uring get beep``, ``uring members``, ``uring ring`` ..."""
