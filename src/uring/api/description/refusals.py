"""Answers that many operations share: why a request is refused."""

from __future__ import annotations

from uring.api.description.parts import Answer, problem_of

EVERY = "every"
"""Whatever is asked, by whomever."""
TOKEN = "token"
"""What is not for everybody, once there are tokens."""
READ = "read"
"""What the leader is asked for."""
WRITE = "write"
"""What has to be committed."""
GROW = "grow"
"""What takes space on the disk."""

REFUSALS: dict[str, dict[int, Answer]] = {
    EVERY: {
        400: problem_of("The request can never be served as it stands."),
        403: problem_of("The token is not for that, or a web page asks that may not."),
        413: problem_of("The body is too large."),
        414: problem_of("The path is too long."),
        415: problem_of("The body is encoded; send it as it is."),
        421: problem_of("The Host is none that the node goes by; see --advertise."),
        500: problem_of("An internal error; the node's log says more."),
    },
    TOKEN: {
        401: problem_of("There are tokens, and none was sent, or a wrong one.", None, "Challenge"),
        429: problem_of("Too many wrong tokens came from this address.", None, "RetryAfter"),
    },
    READ: {
        503: problem_of(
            "No leader, not a member, stopping, or too much waiting: nothing was done. Try again, "
            "or another node.",
            None,
            "RetryAfter",
        ),
    },
    WRITE: {
        504: problem_of("The time-out struck, and the outcome is unknown: look before repeating."),
    },
    GROW: {507: problem_of("Some node has no space left on its disk: nothing was done.")},
}

HEADERS: dict[str, dict[str, object]] = {
    "ETag": {
        "description": "The revision of the value.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9]+"$'},
    },
    "MaybeETag": {
        "description": "The revision of the value, if there is one.",
        "schema": {"type": "string", "pattern": '^"[0-9]+"$'},
    },
    "RetryAfter": {
        "description": "Seconds after which it is worth trying again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "Challenge": {
        "description": "How to say who asks (RFC 6750).",
        "required": True,
        "schema": {"type": "string", "pattern": "^Bearer "},
    },
    "Disposition": {
        "description": "A name for the file.",
        "required": True,
        "schema": {"type": "string"},
    },
}
"""Headers of answers, by the names that :class:`Answer` calls them."""
HEADER_NAMES = {
    "MaybeETag": "ETag",
    "RetryAfter": "Retry-After",
    "Challenge": "WWW-Authenticate",
    "Disposition": "Content-Disposition",
}
"""What is not called so on the wire."""
