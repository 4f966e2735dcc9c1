"""Mounts that the system refuses: one line with advice, mount(8)'s exit code, and nothing left behind."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounts import COMMAND
from tests.support.namespace import Inside, namespace
from tests.support.polling import poll
from tests.support.trees import folders, grow
from tests.support.users import AS_NOBODY, NOBODY, Word, needs_root

pytestmark = needs_root

SYSTEM, FAILED = 2, 32
NOT_PERMITTED = (
    "mounting is not permitted: become root, or see that fusermount3 is setuid root; in a container, start that with "
    "--cap-add SYS_ADMIN"
)
FORMS = pytest.mark.parametrize("form", [(), ("-f",)], ids=["background", "foreground"])


@pytest.fixture
def inside(place: Path) -> Iterator[Inside]:
    """A mount namespace with two sources, and a mountpoint owned by a plain user."""
    grow(place / "high", folders("h", *"2345"))
    grow(place / "low", folders("l", *"01234"))
    (place / "view").mkdir()
    os.chown(place / "view", NOBODY, NOBODY)
    with namespace(place) as made:
        yield made


def check_refused(inside: Inside, code: int, line: str, *words: Word, prefix: tuple[str, ...] = ()) -> None:
    """Check that the command prints ``line`` and leaves no process and no mount."""
    where = inside.place
    done = inside.run(*prefix, *COMMAND, where / "high", where / "low", where / "view", *words)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (code, b"", f"mmirrorfs: {line}\n")
    poll(lambda: not inside.processes(), "the end of all processes")
    assert inside.views() == []


def cannot(inside: Inside, why: str) -> str:
    """The message for a refused mount."""
    return f"cannot mount on {inside.place}/view: {why}"


@FORMS
def test_allow_other_of_a_plain_user_needs_user_allow_other(inside: Inside, form: tuple[str, ...]) -> None:
    inside.let_everybody_open_fuse()
    (inside.place / "fuse.conf").write_text("# nothing\n")
    inside.output_of("mount", "--bind", inside.place / "fuse.conf", "/etc/fuse.conf")
    why = "allow_other needs a line user_allow_other in /etc/fuse.conf: ask root to add it, or leave allow_other out"
    check_refused(inside, FAILED, cannot(inside, why), "-o", "allow_other", *form, prefix=AS_NOBODY)


def test_allow_other_of_a_plain_user_works_with_user_allow_other(inside: Inside) -> None:
    inside.let_everybody_open_fuse()
    (inside.place / "fuse.conf").write_text("user_allow_other\n")
    inside.output_of("mount", "--bind", inside.place / "fuse.conf", "/etc/fuse.conf")
    words: list[Word] = [
        *COMMAND,
        inside.place / "high",
        inside.place / "low",
        inside.place / "view",
        "-o",
        "allow_other",
    ]
    done = inside.run_as_nobody(*words)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (view,) = inside.views()
    assert {"allow_other", "ro", "nosuid", "nodev", f"user_id={NOBODY}"} <= view.options
    assert inside.run("cat", inside.place / "view/2/track").stdout == b"h2"
    assert inside.run_as_nobody("fusermount3", "-u", inside.place / "view").returncode == 0
    poll(lambda: not inside.processes(), "the end of the process")


@FORMS
@pytest.mark.parametrize("prefix", [(), AS_NOBODY], ids=["root", "plain user"])
def test_a_missing_device_is_named(inside: Inside, prefix: tuple[str, ...], form: tuple[str, ...]) -> None:
    inside.let_everybody_open_fuse()
    (inside.cover("/dev") / "fuse").unlink()
    inside.output_of("mount", "--bind", inside.place / "real/dev/null", "/dev/null")
    why = "/dev/fuse is missing: load the module (modprobe fuse); in a container, start that with --device /dev/fuse"
    check_refused(inside, FAILED, cannot(inside, why), *form, prefix=prefix)


def test_a_device_without_permission_is_named(inside: Inside) -> None:
    inside.let_everybody_open_fuse()
    (inside.place / "fuse").chmod(0o600)
    why = "/dev/fuse may not be opened: this container or sandbox forbids FUSE mounts"
    check_refused(inside, FAILED, cannot(inside, why), prefix=AS_NOBODY)


@FORMS
def test_a_missing_fusermount3_is_named_to_a_plain_user(inside: Inside, form: tuple[str, ...]) -> None:
    inside.let_everybody_open_fuse()
    (inside.cover(os.path.realpath("/bin")) / "fusermount3").unlink()
    why = "fusermount3 is missing: install the package fuse3"
    check_refused(inside, FAILED, cannot(inside, why), *form, prefix=AS_NOBODY)


def test_root_needs_no_fusermount3(inside: Inside) -> None:
    (inside.cover(os.path.realpath("/bin")) / "fusermount3").unlink()
    done = inside.run(*COMMAND, inside.place / "high", inside.place / "low", inside.place / "view")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert inside.run("cat", inside.place / "view/2/track").stdout == b"h2"
    inside.unmount(inside.place / "view")


def test_no_new_privs_of_a_plain_user_is_reported_as_not_permitted(inside: Inside) -> None:
    inside.let_everybody_open_fuse()
    check_refused(inside, FAILED, cannot(inside, NOT_PERMITTED), prefix=("setpriv", "--no-new-privs", *AS_NOBODY[1:]))


@FORMS
def test_root_without_cap_sys_admin_is_refused_with_advice(inside: Inside, form: tuple[str, ...]) -> None:
    prefix = ("setpriv", "--bounding-set=-sys_admin")
    check_refused(inside, FAILED, cannot(inside, NOT_PERMITTED), *form, prefix=prefix)


def test_mounts_forbidden_by_a_security_module_are_refused_with_advice(inside: Inside) -> None:
    why = "mounting is forbidden: in a container, start that with --security-opt apparmor=unconfined"
    prefix = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=mount", "-e", "inject=mount:error=EACCES")
    check_refused(inside, FAILED, cannot(inside, why), prefix=prefix)


@FORMS
@pytest.mark.parametrize(
    "reason", ["libfuse3.so.3: cannot open shared object file: No such file or directory", "No module named 'pyfuse3'"]
)
def test_an_import_error_of_pyfuse3_is_reported_with_the_command_that_fixes_it(
    inside: Inside, reason: str, form: tuple[str, ...]
) -> None:
    modules = inside.place / "modules"
    modules.mkdir()
    (modules / "pyfuse3.py").write_text(f"raise ImportError({reason!r})\n")
    where = inside.place
    words: list[Word] = ["--output-high", where / "new"]
    done = inside.run(*COMMAND, where / "high", where / "low", *words, *form, environment={"PYTHONPATH": str(modules)})
    assert (done.returncode, done.stdout) == (SYSTEM, b"")
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"mmirrorfs: {reason}: pyfuse3 or libfuse is missing, or they do not fit; install fuse3")
    assert line.endswith("pip install --force-reinstall --no-cache-dir --no-binary pyfuse3 pyfuse3")
    assert not (where / "new").exists(), "what was made for it is gone"
    asked = inside.run(*COMMAND, "--version", environment={"PYTHONPATH": str(modules)})
    assert asked.returncode == 0, "what is installed can be asked all the same"
    assert b"\npyfuse3 " in asked.stdout
