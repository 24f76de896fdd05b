"""The rendezvous directory of local seeds: where it is, who may write in it, and how its folders are called."""

from __future__ import annotations

import os
import stat
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import ConfigError
from covey.runtime.discovery.local import LocalSeed, folder_name, runtime_directory

US, THEM = "127.0.0.1:8946", "127.0.0.1:8947"


@pytest.fixture(autouse=True)
def base(tmp_path, monkeypatch):
    monkeypatch.setenv("COVEY_RUNTIME_DIR", str(tmp_path / "covey"))
    return tmp_path / "covey"


def seed_of(name="orders"):
    return LocalSeed(f"local:{name}", name)


def test_the_directory_is_made_for_this_user_alone(base):
    before = os.umask(0)
    try:
        seed_of().announce(US)
    finally:
        os.umask(before)
    for directory in (base, base / "orders"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
async def test_a_directory_that_others_can_write_to_is_refused(base, mode):
    seed_of().announce(THEM)
    folder = base / "orders"
    seed = seed_of()
    base.chmod(mode)
    with pytest.raises(ConfigError, match="can be written by other users"):
        seed_of()
    assert await seed.resolve() == []  # what was fine once is not believed for ever
    assert "can be written by other users" in seed.trouble
    seed.announce(US)
    assert "can be written by other users" in seed.trouble
    base.chmod(0o700)
    folder.chmod(mode)
    assert await seed.resolve() == []
    assert str(folder) in seed.trouble
    folder.chmod(0o755)
    assert await seed.resolve() == [THEM]
    assert seed.trouble == ""


def test_a_directory_of_another_user_is_refused(base, monkeypatch):
    base.mkdir(mode=0o700)
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with pytest.raises(ConfigError, match=f"belongs to user {uid} and not to us.*COVEY_RUNTIME_DIR"):
        seed_of()


def test_a_link_and_a_file_are_refused(base, tmp_path):
    base.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="is not a directory"):
        seed_of()
    base.unlink()
    base.write_text("")
    with pytest.raises(ConfigError, match="is not a directory"):
        seed_of()


async def test_a_directory_that_is_missing_is_trouble_until_it_is_there(base):
    seed = seed_of()
    assert await seed.resolve() == []
    assert "does not exist: nobody has announced itself there yet" in seed.trouble
    seed_of().announce(THEM)
    assert await seed.resolve() == [THEM]
    assert seed.trouble == ""


async def test_a_directory_that_cannot_be_made_is_trouble_that_names_the_way_out(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COVEY_RUNTIME_DIR", str(tmp_path / "file" / "covey"))
    seed = seed_of()
    seed.announce(US)
    assert "set COVEY_RUNTIME_DIR" in seed.trouble
    assert await seed.resolve() == []
    assert "set COVEY_RUNTIME_DIR" in seed.trouble
    seed.withdraw()


def test_the_environment_says_where_the_directory_is(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.setenv("COVEY_RUNTIME_DIR", "here")
    assert str(runtime_directory()) == os.path.join(os.getcwd(), "here")
    monkeypatch.setenv("COVEY_RUNTIME_DIR", "")
    assert str(runtime_directory()) == "/run/user/7/covey"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    assert runtime_directory() == tmp_path / f"covey-{os.geteuid()}"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert runtime_directory() == tmp_path / f"covey-{os.geteuid()}"


# --- names ----------------------------------------------------------------------------------------------------------

NAMES = st.text(st.characters() | st.sampled_from("aA.%=/_-é"), min_size=1, max_size=255)


@given(NAMES, NAMES)
def test_no_two_names_share_a_folder_even_where_case_does_not_count(one, other):
    assert (folder_name(one).casefold() == folder_name(other).casefold()) == (one == other)


@given(NAMES)
def test_every_name_is_one_safe_file_name(name):
    encoded = folder_name(name)
    assert encoded not in ("", ".", "..")
    assert set(encoded) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_%=")
    assert len(encoded) <= 255


def test_a_plain_name_stays_readable():
    assert folder_name("orders-2_a") == "orders-2_a"
    assert folder_name("../Ä") == "%2e%2e%2f%c3%84"
    assert folder_name("a" * 200) == "a" * 200
    assert folder_name("a" * 201).startswith("=")
