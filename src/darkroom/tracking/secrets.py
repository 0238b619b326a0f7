"""Passwords in the addresses of run stores: handed to what connects, and shown to nobody.

``http://user:password@host`` and ``postgresql+pg8000://user:password@host/runs`` are addresses that MLflow takes.
"""

import re
import urllib.parse

_HIDDEN = "***"
# The last @ ends the credentials: a password may hold one, or a slash, that nobody has written as %40 or %2F. Digits
# before a slash are a port.
_CREDENTIALS = re.compile(r"(?P<head>\b[a-zA-Z][a-zA-Z0-9+.\-]*://[^\s/?#:@'\"]*):(?!\d+/)[^\s'\"]*@")
_SECRET_OPTION = re.compile(r"(?P<name>[?&](?:password|passwd|pwd|token|sslpassword)=)[^&\s'\"]+", re.IGNORECASE)


def redacted(text: str, uri: str = "") -> str:
    """Return a text with every password in an address replaced by ``***``, and that of ``uri`` wherever it stands."""
    for secret in _secrets(uri):
        text = text.replace(secret, _HIDDEN)
    text = _CREDENTIALS.sub(rf"\g<head>:{_HIDDEN}@", text)
    return _SECRET_OPTION.sub(rf"\g<name>{_HIDDEN}", text)


def credentials(uri: str) -> tuple[str, str, str] | None:
    """Return an address without its credentials, the user and the password; None when it holds no password."""
    parts = urllib.parse.urlsplit(uri)
    login, at, host = parts.netloc.rpartition("@")
    user, colon, password = login.partition(":")
    if not (at and colon):
        return None
    bare = urllib.parse.urlunsplit(parts._replace(netloc=host))
    return bare, urllib.parse.unquote(user), urllib.parse.unquote(password)


def host(uri: str) -> str:
    """Return what a person calls the place of a store: host and port, or the file."""
    parts = urllib.parse.urlsplit(uri)
    return parts.netloc.rpartition("@")[2] or parts.path


def _secrets(uri: str) -> list[str]:
    """Return an address's password, as written and as meant, the longer first; short ones would be words."""
    login, _, _ = urllib.parse.urlsplit(uri).netloc.rpartition("@")
    written = login.partition(":")[2]
    both = {written, urllib.parse.unquote(written)}
    return sorted((secret for secret in both if len(secret) > 3), key=len, reverse=True)
