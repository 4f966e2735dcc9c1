"""A DLNA server (minidlna) with a view as its only media directory, and a player that browses it."""

import contextlib
import re
import sqlite3
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.support.servers import free_port, serving
from tests.support.users import Word

FOLDERS = "64"
"""The id of the container that shows the directory tree."""
_BROWSE = """<?xml version="1.0"?>
<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"
 s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>
<u:Browse xmlns:u="urn:schemas-upnp-org:service:ContentDirectory:1">
<ObjectID>{}</ObjectID><BrowseFlag>BrowseDirectChildren</BrowseFlag><Filter>*</Filter>
<StartingIndex>0</StartingIndex><RequestedCount>0</RequestedCount><SortCriteria></SortCriteria>
</u:Browse></s:Body></s:Envelope>"""
_ACTION = '"urn:schemas-upnp-org:service:ContentDirectory:1#Browse"'
_SCANNED = re.compile(r"Scanning .* finished|Finished parsing playlists")


@dataclass(frozen=True)
class Object:
    """A media item: its id on the server, and its URL."""

    id: str
    url: str

    def fetch(self, part: tuple[int, int] | None = None) -> bytes:
        """Its content, or the part between two positions, inclusive."""
        request = urllib.request.Request(self.url)
        if part is not None:
            request.add_header("Range", f"bytes={part[0]}-{part[1]}")
        with _open(request) as answer:
            assert answer.status == (200 if part is None else 206)
            return bytes(answer.read())


@dataclass(frozen=True)
class Server:
    """The server, as a player uses it."""

    port: int
    database: Path

    def files(self) -> set[str]:
        """The paths in its database, read from the file: 1.3.0 may crash when it gets a request while it is busy."""
        with contextlib.closing(sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True)) as database:
            return {path for (path,) in database.execute("SELECT PATH FROM DETAILS WHERE PATH IS NOT NULL")}

    def objects(self, container: str = FOLDERS, above: str = "") -> dict[str, Object]:
        """All media items, by their directory and title."""
        found: dict[str, Object] = {}
        for element in self._browse(container):
            title = element.findtext("{*}title")
            if element.tag.endswith("}container"):
                found |= self.objects(element.attrib["id"], f"{above}{title}/")
            else:
                url = element.findtext("{*}res")
                assert url is not None
                found[f"{above}{title}"] = Object(element.attrib["id"], url)
        return found

    def _browse(self, container: str) -> list[ElementTree.Element]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/ctl/ContentDir",
            _BROWSE.format(container).encode(),
            {"Content-Type": 'text/xml; charset="utf-8"', "SOAPAction": _ACTION},
        )
        with _open(request) as answer:
            result = ElementTree.fromstring(answer.read()).findtext(".//Result")
        assert result is not None
        return list(ElementTree.fromstring(result))


def _open(request: urllib.request.Request) -> "urllib.request._UrlopenRet":
    """Without any proxy that the environment names."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20)


@contextlib.contextmanager
def scanned(place: Path, media: Path, *, again: bool = False, watches: bool = False) -> Iterator[Server]:
    """A server that has scanned ``media``, with ``again`` a second time: its database stays in ``place``.

    With ``watches`` it follows inotify events from then on.
    """
    for name in ("database", "log"):
        (place / name).mkdir(parents=True, exist_ok=True)
    log, port = place / "log" / "minidlna.log", free_port()
    logs = log, place / "output"  # where 1.3.0 logs to, and where 1.3.3 does with -S
    for file in logs:
        file.unlink(missing_ok=True)
    lines = [f"media_dir=A,{media}", f"db_dir={place}/database", f"log_dir={place}/log", f"port={port}"]
    lines += [
        "network_interface=lo",
        f"inotify={'yes' if watches else 'no'}",
        "friendly_name=test",
        "log_level=general,scanner=warn",
    ]
    (place / "minidlna.conf").write_text("\n".join(lines) + "\n")

    def is_scanned() -> bool:
        return any(file.exists() and _SCANNED.search(file.read_text(errors="replace")) for file in logs)

    words: list[Word] = ["-S", "-f", place / "minidlna.conf", "-P", place / "pid", *(["-r"] if again else [])]
    with serving(place, is_scanned, "minidlnad", *words):
        yield Server(port, place / "database/files.db")
