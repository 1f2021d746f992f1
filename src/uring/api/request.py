"""A request that twisted.web has taken apart: refused as early as it can be, answered in one."""

from __future__ import annotations

import re
from typing import Any

from twisted.web.server import Request

from uring.api import replies
from uring.api.hosts import is_ours
from uring.api.replies import Answer

METHODS = frozenset(
    (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"QUERY")
)
"""Those that a route may refuse by 405; others are answered 501."""
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
GUEST_HEADERS = b"Content-Type, Authorization, Idempotency-Key, If-Match, If-None-Match"
"""What pages of other origins may send beside what they always may."""
# What a header's value must not hold: autobahn would take some of these for the end of a line.
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f\x85]")


class UringRequest(Request):
    """A request that is refused as early as it can be."""

    channel: Any  # a UringChannel; Twisted only promises an HTTPChannel
    refused = False
    authority: bytes | None = None
    """The host that an absolute request target names."""
    guest: bytes | None = None
    """The origin of the page that asks, if pages of that origin may."""
    _held = 0

    def gotLength(self, length: int | None) -> None:
        """The headers are here: refuse before a byte of the body is kept."""
        limits = self.channel.site.limits
        if length is not None and length > limits.body_bytes:
            self.refuse_body()
        super().gotLength(0)  # kept in memory: Twisted would spool what has no length to a file

    def handleContentChunk(self, data: bytes) -> None:
        if self.refused:
            return
        self._held += len(data)
        if self._held > self.channel.site.limits.body_bytes:
            self.refuse_body()
            return
        super().handleContentChunk(data)

    def refuse_body(self) -> None:
        """Answer without having read the body, and close: what follows is no next request."""
        self.refused = True
        limit = self.channel.site.limits.body_bytes
        body = replies.problem(413, f"a body may have at most {limit} bytes")
        self.requestHeaders.removeHeader(b"Expect")
        self.channel.transport.write(
            b"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/problem+json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        self.channel.linger()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self.channel.finished_reading()
        if self.refused:
            return
        if not path.startswith(b"/") and b"://" in path:
            # The absolute form, meant for proxies (RFC 9112, 3.2.2).
            self.authority, _, rest = path.partition(b"://")[2].partition(b"/")
            path = b"/" + rest
        # Twisted would look for forms, by the parser of e-mail: a quarter of the cost of a POST.
        self.requestHeaders.removeHeader(b"content-type")
        super().requestReceived(command, path, version)

    def process(self) -> None:
        """Answer, unless something about the request itself is wrong."""
        self.setHeader(b"X-Content-Type-Options", b"nosniff")
        self.setHeader(b"Cache-Control", b"no-store")
        self._welcome_guest()
        objection = self._objection()
        if objection is None and self._is_preflight():
            self.setResponseCode(204)
            self.finish()
            return
        if objection is None:
            super().process()
            return
        code, detail = objection
        self.answer(replies.trouble(code, detail))

    def answer(self, answer: Answer) -> None:
        """Answer at once and be done; nothing happens if the client has hung up."""
        channel = self.channel
        if channel is None:
            return
        if channel.persistent and self.method != b"HEAD" and self.guest is None:
            self.startedWriting = 1
            self.code = answer.code
            channel.send(answer)
            self.finish()
            return
        self.setHeader(b"Server", self.channel.site.banner)
        self.setResponseCode(answer.code)
        self.setHeader(b"Content-Type", answer.kind)
        self.setHeader(b"Content-Length", b"%d" % len(answer.body))
        if answer.retry_after is not None:
            self.setHeader(b"Retry-After", b"%d" % answer.retry_after)
        if answer.code == 401:
            self.setHeader(b"WWW-Authenticate", replies.CHALLENGE)
        if answer.allow is not None:
            self.setHeader(b"Allow", answer.allow)
        if answer.etag is not None:
            self.setHeader(b"ETag", b'"%d"' % answer.etag)
        self.write(answer.body)
        self.finish()

    def _welcome_guest(self) -> None:
        """Let the browser show our answers to pages of an origin that --allow-origin names."""
        origins = self.requestHeaders.getRawHeaders(b"origin", [])
        if len(origins) == 1 and origins[0].decode("latin-1") in self.channel.site.allowed_origins:
            self.guest = origins[0]
            self.setHeader(b"Access-Control-Allow-Origin", self.guest)
            self.setHeader(b"Vary", b"Origin")

    def _is_preflight(self) -> bool:
        """Tell whether the browser asks what pages may send, and say so."""
        asks = self.requestHeaders.hasHeader(b"access-control-request-method")
        if self.guest is None or self.method != b"OPTIONS" or not asks:
            return False
        self.setHeader(b"Server", self.channel.site.banner)
        self.setHeader(b"Access-Control-Allow-Methods", b"GET, POST, PUT, DELETE")
        self.setHeader(b"Access-Control-Allow-Headers", GUEST_HEADERS)
        self.setHeader(b"Access-Control-Max-Age", b"600")
        return True

    def _objection(self) -> tuple[int, str] | None:
        limits = self.channel.site.limits
        if self.method not in METHODS:
            return 501, "unknown method"
        if len(self.uri) > limits.uri_bytes:
            return 414, f"a path may have at most {limits.uri_bytes} bytes"
        for _, values in self.requestHeaders.getAllRawHeaders():
            if any(_FORBIDDEN.search(value) for value in values):
                return 400, "a header holds a control character"
        encodings = self.requestHeaders.getRawHeaders(b"content-encoding", [])
        if any(each.strip().lower() != b"identity" for each in encodings):
            return 415, "send the body as it is, without Content-Encoding"
        return self._foreign()

    def _foreign(self) -> tuple[int, str] | None:
        """Keep web pages out: by the Host they think they talk to, and by where they are from."""
        hosts = self.requestHeaders.getRawHeaders(b"host", [])
        if len(hosts) > 1 or (not hosts and self.clientproto != b"HTTP/1.0"):
            return 400, "send one Host header"
        host = hosts[0].decode("latin-1") if hosts else "localhost"
        if not is_ours(host, self.channel.site.allowed_hosts, self.channel.getHost):
            return 421, "this node does not go by that Host; see --advertise"
        if self.authority is not None and self.authority.decode("latin-1") != host:
            return 400, "the request's target names another host"
        upgrade = self.requestHeaders.hasHeader(b"upgrade")
        if self.guest is not None or (self.method in _SAFE and not upgrade):
            return None
        origins = self.requestHeaders.getRawHeaders(b"origin", [])
        for origin in origins:
            if origin.decode("latin-1").lower() not in (
                f"http://{host}".lower(),
                f"https://{host}".lower(),
            ):
                return 403, "pages of another origin may not do this"
        sites = self.requestHeaders.getRawHeaders(b"sec-fetch-site", [])
        if any(site not in (b"same-origin", b"none") for site in sites):
            return 403, "pages of another site may not do this"
        return None

    def render(self, resrc: Any) -> None:
        self.setHeader(b"Server", self.channel.site.banner)
        super().render(resrc)
