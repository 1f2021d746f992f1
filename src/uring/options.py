"""The command line of a node, checked once and turned into one frozen :class:`Settings`."""

from __future__ import annotations

import getopt
import os
import re
import sys
from pathlib import Path
from typing import Any

from attrs import asdict, frozen
from twisted.python import usage

from uring import configuration
from uring.limits import AllLimits

RING_SIZE_MAX = 2**24
"""Vnodes; a plan for more would not fit in one entry of the log."""

NODE_ID_MAX = 2**63 - 1
"""Ids are carried as unsigned 64-bit integers and shown by tools that know signed ones only."""

MILLISECONDS_MAX = 3_600_000
"""An hour: whatever is longer is a unit mistaken."""

_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]@]+):(?P<port>\d{1,5})")
_ENDPOINT = re.compile(r"[A-Za-z][A-Za-z0-9]*:.+", re.DOTALL)
_ENDPOINT_KINDS = frozenset({"tcp", "tcp6", "unix", "ssl", "tls", "systemd"})
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+")
_ORIGIN = re.compile(r"https?://(?:\[[0-9a-f:]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
_PEER_FILES = ("peer-ca", "peer-cert", "peer-key")
_NOBODY = _ENDPOINT_KINDS | {"0.0.0.0", "::"}
"""Hosts that cannot be dialled: an endpoint string mistaken for host:port, and every interface."""


@frozen
class Settings:
    """Everything a node is told at its start."""

    endpoint: str
    """Where to listen for peers, HTTP and WebSocket: ``host:port`` or a Twisted endpoint string."""
    peers: tuple[str, ...]
    """Where other nodes may be found, in the same two forms."""
    node_id: int
    bootstrap: bool
    """Found a cluster if the data directory holds none yet; harmless if it does."""
    ring_size: int | None
    """The size the ring gets with the bootstrap, in vnodes."""
    http: str | None
    """A second place to listen for HTTP and WebSocket alone."""
    json_logs: bool
    data_dir: str
    advertise: str | None
    """The ``host:port`` that other nodes shall dial, where it is not the one listened on."""
    heartbeat_ms: int
    election_ms: int
    request_timeout_ms: int
    """After this long a client is told that the outcome of its request is unknown."""
    snapshot_entries: int
    """Compact the log once it has this many applied entries,"""
    snapshot_bytes: int
    """or this many bytes, whichever comes first;"""
    disk_reserve_mb: int
    """Take no new data when less than this is free on the disk, in MiB."""
    allow_origins: tuple[str, ...]
    """Origins whose pages may speak to this node, as browsers write them."""
    limits: AllLimits
    """Every other bound."""
    insecure: bool
    """Start even where strangers could listen, or pass for a node."""
    peer_ca: str | None
    """Files by which nodes prove to each other who they are, by TLS: all three or none;"""
    peer_cert: str | None
    peer_key: str | None
    peer_secret_file: str | None
    """or that which holds a secret that all nodes share."""
    allow_hosts: tuple[str, ...]
    """More names under which clients may address this node."""
    trailing_entries: int
    """but keep this many applied entries for followers that are a little behind."""
    history_entries: int
    """Keep so many changes for those who watch,"""
    history_bytes: int
    """in so many bytes at the most."""
    backup_dir: str | None
    """Where to put backups from time to time: every"""
    backup_interval_s: int
    """seconds, and"""
    backup_keep: int
    """so many are kept."""


def _integer(name: str, low: int, high: int) -> Any:
    """Return a converter of usage.Options for integers from ``low`` to ``high``."""

    def convert(text: str) -> int:
        if re.fullmatch(r"[0-9]{1,20}", text) and low <= int(text) <= high:
            return int(text)
        raise ValueError(f"write --{name}=N with N from {low} to {high}")

    # usage.Options joins this to what the converter raised.
    convert.coerceDoc = "It takes a whole number."  # type: ignore[attr-defined]
    return convert


def split_host_port(text: str) -> tuple[str, int] | None:
    """Return host (brackets of IPv6 taken off) and port, or None if ``text`` is not host:port."""
    match = _HOST_PORT.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        return None
    return match["host"].strip("[]"), int(match["port"])


def _require_address(option: str, text: str, example: str) -> None:
    """Raise UsageError unless ``text`` is host:port or looks like an endpoint string."""
    kind = text.partition(":")[0]
    if kind in _ENDPOINT_KINDS and _ENDPOINT.fullmatch(text):
        return
    if split_host_port(text) is None:
        raise usage.UsageError(
            f"--{option}={text!r} is no address: write {example}, [::1]:8080, "
            "or an endpoint string such as tcp:8080:interface=127.0.0.1"
        )


class Options(usage.Options):
    """The command line of ``twist uring`` and ``twistd -n uring``."""

    settings: Settings
    """Set once the options are parsed."""

    optFlags = [
        ["bootstrap", "b", "Found a new cluster with this node as its first member"],
        ["no-json", "n", "Log text for people instead of one JSON object a line"],
        ["check-config", None, "Check options, environment and file, show what they say, and end"],
        ["insecure", None, "Listen for other machines even without TLS or proof of who peers are"],
    ]
    optParameters = [
        ["endpoint", "e", "127.0.0.1:8080", "Address of this node, for peers and clients alike"],
        ["id", "i", 1, "Id of this node", _integer("id", 1, NODE_ID_MAX)],
        [
            "ring-size",
            "r",
            None,
            "Vnodes of the ring, with --bootstrap",
            _integer("ring-size", 1, RING_SIZE_MAX),
        ],
        ["config", "c", None, "TOML file with options; URING_CONFIG names one, too"],
        ["http", None, None, "Listen for HTTP and WebSocket at this address, too"],
        ["data-dir", "d", None, "Where data is kept [default: ./raft-leveldb-<id>]"],
        ["advertise", None, None, "HOST:PORT by which other nodes reach this one"],
        ["peer-ca", None, None, "Authority whose certificates other nodes must show"],
        ["peer-cert", None, None, "This node's certificate for other nodes: node-<id>.uring"],
        ["peer-key", None, None, "Its key"],
        ["peer-secret-file", None, None, "Secret that all nodes share, where they have no TLS"],
        [
            "heartbeat-ms",
            None,
            100,
            "Time between a leader's heartbeats",
            _integer("heartbeat-ms", 1, MILLISECONDS_MAX),
        ],
        [
            "election-ms",
            None,
            1000,
            "Time without a leader before an election",
            _integer("election-ms", 3, MILLISECONDS_MAX),
        ],
        [
            "request-timeout-ms",
            None,
            5000,
            "Time before a client is told that the outcome is unknown",
            _integer("request-timeout-ms", 1, MILLISECONDS_MAX),
        ],
        [
            "max-connections",
            None,
            20_000,
            "Connections of clients at the most",
            _integer("max-connections", 1, 2**20),
        ],
        [
            "snapshot-entries",
            None,
            100_000,
            "Compact the log at this many entries",
            _integer("snapshot-entries", 1, 2**40),
        ],
        [
            "snapshot-bytes",
            None,
            64 * 2**20,
            "Compact the log at this many bytes",
            _integer("snapshot-bytes", 4096, 2**50),
        ],
        [
            "trailing-entries",
            None,
            10_000,
            "Entries to keep for followers when compacting",
            _integer("trailing-entries", 0, 2**40),
        ],
        [
            "history-entries",
            None,
            100_000,
            "Changes to keep for watches that resume",
            _integer("history-entries", 8, 2**40),
        ],
        [
            "history-bytes",
            None,
            64 * 2**20,
            "Bytes of changes to keep at the most",
            _integer("history-bytes", 4096, 2**50),
        ],
        ["backup-dir", None, None, "Directory, which exists, for backups from time to time"],
        [
            "backup-interval-s",
            None,
            3600,
            "Time from one backup to the next, in seconds",
            _integer("backup-interval-s", 1, 366 * 86400),
        ],
        [
            "backup-keep",
            None,
            24,
            "Backups to keep in --backup-dir",
            _integer("backup-keep", 1, 2**20),
        ],
        [
            "disk-reserve-mb",
            None,
            128,
            "Take no new data when less is free on the disk, in MiB; 0 to watch nothing",
            _integer("disk-reserve-mb", 0, 2**30),
        ],
    ]
    compData = usage.Completions(
        optActions={
            "data-dir": usage.CompleteDirs(),
            "backup-dir": usage.CompleteDirs(),
            "peer-ca": usage.CompleteFiles(),
            "peer-cert": usage.CompleteFiles(),
            "peer-key": usage.CompleteFiles(),
            "peer-secret-file": usage.CompleteFiles(),
        }
    )
    longdesc = (
        "Start the first node with --bootstrap, the others with --peer; then add them by "
        "POST /node/ID on any member."
    )

    def __init__(self) -> None:
        super().__init__()
        self["peers"] = []
        self["allow-hosts"] = []
        self["allow-origins"] = []
        self["limits"] = {}

    def parseOptions(self, options: Any = None) -> None:
        """Parse what the file, the environment and the command line say, in this order."""
        given = list(sys.argv[1:] if options is None else options)
        try:
            names = self._names(given)
            path = names.get("config") or os.environ.get("URING_CONFIG")
            file = Path(path) if path else None
            before = configuration.words(self._known(), names, os.environ, file)
        except configuration.ConfigurationError as problem:
            raise usage.UsageError(str(problem)) from None
        super().parseOptions([*before, *given])

    def _names(self, given: list[str]) -> dict[str, str]:
        """Return the options on the command line by their full names, with their last values."""
        try:
            pairs, _ = getopt.getopt(given, self.shortOpt, self.longOpt)
        except getopt.GetoptError:
            return {}  # said properly by whoever parses them
        return {self.synonyms[word.lstrip("-")]: value for word, value in pairs}

    def _known(self) -> configuration.Known:
        parameters: list[Any] = list(self.optParameters)
        flags: list[Any] = list(self.optFlags)
        return configuration.Known(
            parameters=[each[0] for each in parameters if each[0] != "config"],
            flags=[each[0] for each in flags if each[0] != "check-config"],
            lists=["allow-host", "allow-origin", "limit", "peer"],
        )

    def opt_allow_origin(self, origin: str) -> None:
        """Origin whose web pages may speak to this node, for example https://admin.example."""
        if not _ORIGIN.fullmatch(origin):
            raise usage.UsageError(
                f"--allow-origin={origin!r} is no origin: write it as browsers do, for example "
                "https://admin.example or http://localhost:3000, without a path"
            )
        self["allow-origins"].append(origin)

    def opt_limit(self, text: str) -> None:
        """NAME=VALUE: set one bound; docs/SECURITY.md lists them."""
        name, separator, value = text.partition("=")
        if not separator:
            raise usage.UsageError(f"--limit={text!r}: write --limit NAME=VALUE")
        self["limits"][name] = value

    def opt_allow_host(self, name: str) -> None:
        """Another name under which clients may address this node; more than once for several."""
        if not _HOST.fullmatch(name):
            raise usage.UsageError(
                f"--allow-host={name!r} is no host name: write it without a port"
            )
        self["allow-hosts"].append(name.lower().strip("[]"))

    def opt_peer(self, address: str) -> None:
        """Address of another node; may be given more than once."""
        _require_address("peer", address, "127.0.0.1:8081")
        if address.partition(":")[0] in ("ssl", "tls"):
            raise usage.UsageError(
                f"--peer={address!r}: write HOST:PORT; TLS between nodes comes with --peer-ca"
            )
        if address not in self["peers"]:
            self["peers"].append(address)

    opt_p = opt_peer

    def parseArgs(self, *arguments: str) -> None:
        """Refuse what no option asked for."""
        if arguments:
            raise usage.UsageError(
                f"{arguments[0]!r} belongs to no option: write -p HOST:PORT for each peer"
            )

    def postOptions(self) -> None:
        """Check what involves more than one option, and make :attr:`settings`."""
        self._check_addresses()
        self._check_times()
        if self["ring-size"] is not None and not self["bootstrap"]:
            raise usage.UsageError(
                "--ring-size is only for the node that founds the cluster: write it together "
                "with --bootstrap, or POST /mring on the running cluster"
            )
        if self["trailing-entries"] > self["snapshot-entries"]:
            raise usage.UsageError(
                f"--trailing-entries={self['trailing-entries']} keeps more than --snapshot-entries="
                f"{self['snapshot-entries']} lets the log grow to: write a smaller one"
            )
        given = [name for name in _PEER_FILES if self[name] is not None]
        if given and len(given) < len(_PEER_FILES):
            missing = " and ".join(f"--{name}" for name in _PEER_FILES if name not in given)
            raise usage.UsageError(f"--{given[0]} needs {missing}, too: write all three")
        for name in (*_PEER_FILES, "peer-secret-file"):
            if self[name] == "":
                raise usage.UsageError(f"--{name} is empty: write the path of a file")
        if self["data-dir"] == "":
            raise usage.UsageError("--data-dir is empty: write the path of a directory")
        self._check_backups()
        self.settings = self._settings()
        if self["check-config"]:
            for name, value in asdict(self.settings, recurse=False).items():
                print(f"{name} = {value!r}")
            raise SystemExit(0)

    def _check_addresses(self) -> None:
        _require_address("endpoint", self["endpoint"], "127.0.0.1:8080")
        if self["http"] is not None:
            _require_address("http", self["http"], "127.0.0.1:9080")
        if self["advertise"] is not None:
            found = split_host_port(self["advertise"])
            if found is None or found[1] == 0 or found[0] in _NOBODY:
                raise usage.UsageError(
                    f"--advertise={self['advertise']!r} cannot be dialled: write HOST:PORT as "
                    "other nodes reach this one, for example 192.0.2.7:8080"
                )

    def _check_backups(self) -> None:
        """Refuse a place that is lost together with what it is to save."""
        if self["backup-dir"] == "":
            raise usage.UsageError("--backup-dir is empty: write the path of a directory")
        if self["backup-dir"] is not None:
            data = Path(self["data-dir"] or f"./raft-leveldb-{self['id']}").resolve()
            if Path(self["backup-dir"]).resolve().is_relative_to(data):
                raise usage.UsageError(
                    f"--backup-dir={self['backup-dir']!r} lies in --data-dir, and would be lost "
                    "with it: write a directory outside, on another disk if there is one"
                )

    def _check_times(self) -> None:
        if self["election-ms"] < 3 * self["heartbeat-ms"]:
            raise usage.UsageError(
                f"--election-ms={self['election-ms']} is less than three times --heartbeat-ms="
                f"{self['heartbeat-ms']}: one late heartbeat would depose a leader; write at least "
                f"--election-ms={3 * self['heartbeat-ms']}"
            )

    def _limits(self) -> AllLimits:
        try:
            return AllLimits.of({"connections": str(self["max-connections"]), **self["limits"]})
        except ValueError as problem:
            raise usage.UsageError(str(problem)) from None

    def _settings(self) -> Settings:
        return Settings(
            endpoint=self["endpoint"],
            peers=tuple(self["peers"]),
            node_id=self["id"],
            bootstrap=bool(self["bootstrap"]),
            ring_size=self["ring-size"],
            http=self["http"],
            json_logs=not self["no-json"],
            data_dir=self["data-dir"] or f"./raft-leveldb-{self['id']}",
            advertise=self["advertise"],
            heartbeat_ms=self["heartbeat-ms"],
            election_ms=self["election-ms"],
            request_timeout_ms=self["request-timeout-ms"],
            snapshot_entries=self["snapshot-entries"],
            snapshot_bytes=self["snapshot-bytes"],
            trailing_entries=self["trailing-entries"],
            disk_reserve_mb=self["disk-reserve-mb"],
            allow_origins=tuple(self["allow-origins"]),
            limits=self._limits(),
            insecure=bool(self["insecure"]),
            peer_ca=self["peer-ca"],
            peer_cert=self["peer-cert"],
            peer_key=self["peer-key"],
            peer_secret_file=self["peer-secret-file"],
            allow_hosts=tuple(self["allow-hosts"]),
            history_entries=self["history-entries"],
            history_bytes=self["history-bytes"],
            backup_dir=self["backup-dir"],
            backup_interval_s=self["backup-interval-s"],
            backup_keep=self["backup-keep"],
        )
