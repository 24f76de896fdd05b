"""This user's own secret: made once, whoever comes first, and for nobody else to read."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

import covey
from covey.api.secrets import user_secret, user_secret_path

ALL_AT_ONCE = """
import sys, time
from covey.api.secrets import user_secret
sys.stdout.write("ready\\n"); sys.stdout.flush()
start = float(sys.stdin.readline())
while time.time() < start:
    pass
print(user_secret().hex())
"""


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path) -> Path:
    """Where this user's configuration lies."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("COVEY_SECRET_FILE", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return tmp_path


def test_it_is_made_at_first_use_and_kept(home):
    assert os.listdir(home) == []
    first = user_secret()
    assert len(first) == 64
    assert user_secret() == first
    assert os.listdir(home / "covey") == ["secret"]
    assert stat.S_IMODE((home / "covey" / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "covey").stat().st_mode) == 0o700


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_umask_makes_no_difference(home, umask):
    before = os.umask(umask)
    try:
        user_secret()
    finally:
        os.umask(before)
    assert stat.S_IMODE((home / "covey" / "secret").stat().st_mode) == 0o600


@pytest.mark.serial
def test_eight_processes_that_start_at_once_have_one_secret(home):
    children = [
        subprocess.Popen([sys.executable, "-c", ALL_AT_ONCE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        start = f"{time.time() + 0.2}\n"
        found = {child.communicate(start, timeout=20)[0].strip() for child in children}
    finally:
        for child in children:
            child.kill()
            child.communicate()
    assert len(found) == 1
    assert found == {user_secret().hex()}
    assert os.listdir(home / "covey") == ["secret"]
    assert stat.S_IMODE((home / "covey" / "secret").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_secret_that_others_can_read_is_refused_with_the_command_that_mends_it(home, mode):
    user_secret()
    (home / "covey" / "secret").chmod(mode)
    with pytest.raises(covey.ConfigError, match=r"run chmod 600 on it") as caught:
        covey.Node("orders")
    assert str(home / "covey" / "secret") in str(caught.value)
    (home / "covey" / "secret").chmod(0o600)
    assert covey.Node("orders")


def test_a_place_where_none_can_be_made_is_named_with_the_way_out(home):
    (home / "covey").write_text("a file where the folder should be")
    with pytest.raises(covey.ConfigError, match="give secret= instead") as caught:
        covey.Node("orders")
    assert str(home / "covey" / "secret") in str(caught.value)


def test_a_secret_that_was_cut_short_is_refused(home):
    user_secret()
    (home / "covey" / "secret").write_text("")
    with pytest.raises(covey.ConfigError, match="has 0 bytes"):
        covey.Node("orders")


def test_it_is_made_on_loopback_only_and_never_where_one_was_given(home):
    covey.Node("orders", secret="s" * 16)
    with pytest.raises(covey.ConfigError):
        covey.Node("orders", listen="0.0.0.0:0", config=covey.Config.laptop())
    covey.Node("orders", config=covey.Config.lan(), listen="127.0.0.1:0")
    assert os.listdir(home) == []
    covey.Node("orders")
    assert os.listdir(home) == ["covey"]


def test_its_place_follows_the_environment(monkeypatch, home):
    assert user_secret_path() == home / "covey" / "secret"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/home/ann")
    assert user_secret_path() == Path("/home/ann/.config/covey/secret")
