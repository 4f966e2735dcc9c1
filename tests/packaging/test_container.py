"""The container image: its files, and a container by their settings, made of namespaces as an engine does it."""

import itertools
import os
import re
import shlex
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmirrorfs.source.capabilities import Capability
from tests.support.image import (
    PACKAGING,
    ROOT,
    Container,
    entrypoint,
    health_check,
    instructions,
    running,
    service,
    volumes,
)
from tests.support.namespace import Inside, namespace
from tests.support.polling import poll
from tests.support.trees import folders, grow
from tests.support.users import need, needs_root

CONFIG = ("--config", "/etc/mmirrorfs.toml")
SHOWN = {"high": ["flac 1", "flac 2", "mp3 3"], "low": ["flac 1", "mp3 2", "mp3 3"]}


def test_image_is_based_on_debian_and_names_no_other_host() -> None:
    bases = [line.split()[0] for line in instructions("FROM")]
    assert len(bases) == 2
    assert all(re.fullmatch(r"debian:\$\{RELEASE\}-slim", base) for base in bases)
    for name in ("Containerfile", "compose.yaml"):
        assert "://" not in (PACKAGING / name).read_text()
    assert re.fullmatch(r"debian:\w+-slim", service("player")["image"])


def test_build_is_not_interactive_and_build_tools_are_not_in_the_image() -> None:
    installing = [line for line in instructions("RUN") if "apt-get install" in line]
    assert len(installing) == len(instructions("FROM")) == instructions("ARG").count("DEBIAN_FRONTEND=noninteractive")
    assert all("install -y --no-install-recommends " in line for line in installing)
    assert "gcc" in installing[0]
    assert "gcc" not in installing[1]
    assert "/var/lib/apt/lists" in installing[1]


def test_all_copied_files_are_in_the_checkout() -> None:
    for line in instructions("COPY"):
        *sources, _ = line.split()
        if not sources[0].startswith("--from=build"):
            assert all((ROOT / source).exists() for source in sources)
    build = service()["build"]
    assert (PACKAGING / build["context"]).resolve() == ROOT
    assert ROOT / build["dockerfile"] == PACKAGING / "Containerfile"


def test_a_container_has_exactly_the_privileges_that_a_view_needs() -> None:
    given = service()
    assert sorted(given["cap_add"]) == sorted(needed.name for needed in Capability)
    assert (given["cap_drop"], given["devices"], given["network_mode"]) == (["ALL"], ["/dev/fuse"], "none")
    assert set(given["security_opt"]) == {"no-new-privileges=true", "apparmor=unconfined"}
    assert given["read_only"] is True
    assert not given.get("privileged")
    propagation = {target: (how, read_only) for _, target, how, read_only in volumes()}
    assert propagation == {"/music": ("rslave", True), "/views": ("rshared", False)}


def test_example_configuration_has_views_in_the_shared_directory_and_sources_in_the_other() -> None:
    config = tomllib.loads((PACKAGING / "mmirrorfs.toml").read_text())
    assert {os.path.dirname(view["mountpoint"]) for view in config["view"]} == {"/views"}
    assert {os.path.dirname(path) for path in config["sources"].values()} == {"/music"}
    assert tuple(service()["command"].split()) == CONFIG
    assert "./mmirrorfs.toml:/etc/mmirrorfs.toml:ro" in service()["volumes"]


def test_docker_run_in_the_docs_has_the_settings_of_compose() -> None:
    text = (ROOT / "docs/nas.md").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^docker run (.*)$", text, re.MULTILINE)
    given, words = service(), shlex.split(line)
    said = [tuple(pair) for pair in itertools.pairwise(words)]
    assert sorted(value for name, value in said if name == "--cap-add") == sorted(given["cap_add"])
    assert sorted(value for name, value in said if name == "--security-opt") == sorted(given["security_opt"])
    assert {("--cap-drop", "ALL"), ("--device", "/dev/fuse"), ("--network", "none")} <= set(said)
    assert ("--restart", given["restart"]) in said
    assert [value for name, value in said if name == "--tmpfs"] == given["tmpfs"]
    assert "--read-only" in words
    mounts = [value for name, value in said if name == "--mount"]
    assert mounts == [
        f"type=bind,source={where},target={target},{'readonly,' if read_only else ''}bind-propagation={how}"
        for where, target, how, read_only in volumes()
    ]


@pytest.fixture
def host(place: Path) -> Iterator[Inside]:
    """A host with the sources and the shared directory of compose.yaml."""
    grow(place / "music", {name.encode(): {b"A": folders(f"{name} ", *numbers)} for name, numbers in SOURCES.items()})
    (place / "views").mkdir()
    with namespace(place) as made:
        made.output_of("mount", "-t", "tmpfs", "none", "/srv")
        made.output_of("mkdir", "/srv/music", "/srv/views")
        for name in ("music", "views"):
            made.output_of("mount", "--bind", place / name, f"/srv/{name}")
            made.output_of("mount", "--make-shared", f"/srv/{name}")
        yield made


SOURCES = {"flac": "12", "mp3": "23"}


def shown(host: Inside) -> dict[str, list[str]]:
    """What the host reads in the views."""
    where = {name: host.seen(Path(f"/srv/views/{name}/A")) for name in SHOWN}
    return {name: [(path / number / "track").read_text() for number in "123"] for name, path in where.items()}


def up(host: Inside, container: Container) -> None:
    """Wait for its health check to succeed; then both views are mounted, on the host, too."""
    poll(lambda: container.run(health_check()) == 0 or container.process.poll() is not None, "a healthy container", 30)
    assert container.process.poll() is None, container.text()
    poll(lambda: len(host.views()) == 2, "both views on the host")
    assert shown(host) == SHOWN


def ends(host: Inside, container: Container) -> None:
    """Stop it as an engine does: it exits with 0, and no mount is left on the host."""
    assert container.end(signal.SIGTERM) == 0, container.text()
    assert host.views() == []


@pytest.mark.mount
@needs_root
def test_views_of_a_container_are_read_only_on_the_host_and_unmounted_when_it_stops(host: Inside) -> None:
    with running(host, *CONFIG) as container:
        up(host, container)
        assert all({"ro", "nosuid", "nodev", "allow_other"} <= view.options for view in host.views())
        grow(host.place / "music/flac/A/3", {b"track": b"flac 3"})
        poll(lambda: shown(host)["high"][2] == "flac 3", "a change in a source")
        with open(host.seen(Path("/srv/views/high/A/1/track"))):
            ends(host, container)
        assert container.text() == ""


@pytest.mark.mount
@needs_root
def test_dead_views_of_a_killed_container_are_replaced_by_the_next(host: Inside) -> None:
    with running(host, *CONFIG) as container:
        up(host, container)
        container.end(signal.SIGKILL)
    assert len(host.views()) == 2
    with pytest.raises(OSError, match="not connected"):
        shown(host)
    with running(host, *CONFIG) as container:
        up(host, container)
        assert sorted(container.text().splitlines()) == [
            f"mmirrorfs: a dead view was on /views/{name}; it is replaced" for name in sorted(SHOWN)
        ]
        ends(host, container)


@pytest.mark.mount
@needs_root
def test_views_survive_the_exit_of_an_orphan_that_the_command_has_adopted(host: Inside) -> None:
    command = tuple(entrypoint()[entrypoint().index("--") + 1 :])
    assert command[0] == "mmirrorfs"
    with running(host, *CONFIG, command=command) as container:
        up(host, container)
        assert container.run("sleep 1 >/dev/null 2>&1 &") == 0
        poll(lambda: "sleep" in container.children(), "an orphan")
        poll(lambda: "sleep" not in container.children(), "its end")
        assert shown(host) == SHOWN
        ends(host, container)


@pytest.mark.mount
@needs_root
def test_health_check_fails_until_a_view_is_mounted_and_while_a_source_is_lost(host: Inside) -> None:
    with running(host, *CONFIG, command=(need("tini"), "--", "sleep", "60")) as container:
        assert container.run(health_check()) != 0
    with running(host, *CONFIG) as container:
        up(host, container)
        (host.place / "music/flac").rename(host.place / "music/gone")
        poll(lambda: container.run(health_check()) != 0, "an unhealthy container")
        assert sorted(os.listdir(host.seen(Path("/srv/views/high/A")))) == ["1", "2", "3"]
        host.output_of("mkdir", "/srv/music/flac")
        host.output_of("mount", "--bind", "/srv/music/gone", "/srv/music/flac")
        up(host, container)
        ends(host, container)
