"""The cluster's secret: given, read from a file, or made for this user on this machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from covey.core.errors import ConfigError

SECRET_BYTES_MIN = 16  # 128 bit if it is random; see SECURITY.md
SECRET_BYTES_MAX = 4096


def read_secret(secret: object) -> bytes:
    """The bytes of a secret: text, bytes, or a `Path` to the file that holds it (surrounding white space is dropped).

    Raises `ConfigError`, naming the field and the fix.
    """
    if isinstance(secret, Path):
        try:
            found = secret.read_bytes().strip()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigError(
                f"secret: cannot read {secret} ({reason}); nothing was opened: make it readable"
            ) from None
        where = f"the secret in {secret}"
    elif isinstance(secret, str):
        found, where = secret.encode("utf-8", "surrogatepass"), "the secret"
    elif isinstance(secret, bytes):
        found, where = secret, "the secret"
    else:
        kind = type(secret).__name__
        raise ConfigError(f"secret: must be str, bytes or a pathlib.Path to a file, not {kind}; nothing was opened")
    if not SECRET_BYTES_MIN <= len(found) <= SECRET_BYTES_MAX:
        raise ConfigError(
            f"secret: {where} has {len(found)} bytes, {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} are allowed; make one: "
            'python -c "import secrets; print(secrets.token_hex(32))"'
        )
    return found


def user_secret_path() -> Path:
    """Where this user's own secret is kept: `$XDG_CONFIG_HOME/covey/secret`, else `~/.config/covey/secret`."""
    base = os.environ.get("XDG_CONFIG_HOME")
    try:
        return (Path(base) if base else Path.home() / ".config") / "covey" / "secret"
    except RuntimeError:
        raise ConfigError("secret: this user has no home directory to keep one in; give secret=") from None


def user_secret() -> bytes:
    """This user's secret on this machine, made at first use with mode 0600. Safe when many processes start at once."""
    import secrets  # the first time only: `import covey` has a time budget

    path = user_secret_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            draft = path.with_name(f".secret-{os.getpid()}-{secrets.token_hex(4)}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(descriptor, secrets.token_hex(32).encode() + b"\n")
            finally:
                os.close(descriptor)
            try:
                with contextlib.suppress(FileExistsError):
                    os.link(draft, path)  # the first one wins, and is never seen half-written
            finally:
                draft.unlink()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"secret: cannot make {path} ({reason}); nothing was opened: give secret= instead") from None
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"secret: {path} can be read by others; nothing was opened: run chmod 600 on it")
    return read_secret(path)
