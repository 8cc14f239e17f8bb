"""The URL of the store."""

from pathlib import Path

import pytest

from stores.redis.client import check_url
from stores.redis.url import OPTIONS, SENTINEL_OPTIONS, TLS_OPTIONS

DOCS = Path(__file__).parents[3] / "docs" / "scaling.md"


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h/",
        "redis://h:7000/15",
        "redis://ann:s%2Fecr%40t@[::1]:6379/0?namespace=staging&client_name=one",
        "redis://h?username=ann&password=s@cret&socket_timeout=1.5&socket_connect_timeout=1",
        "rediss://h/0?ssl_ca_certs=/ca.pem&ssl_cert_reqs=required&ssl_check_hostname=false&ssl_ciphers=HIGH",
        "rediss://h/0?ssl_ca_path=/ca&ssl_certfile=/c.pem&ssl_keyfile=/k.pem&ssl_password=x",
        "redis+sentinel://ann:secret@a:26379,b/main/0?namespace=x&sentinel_username=y&sentinel_password=z",
        "rediss+sentinel://a/main?ssl_ca_certs=/ca.pem",
    ],
)
def test_what_it_may_say(url: str) -> None:
    """All that docs/scaling.md names is taken."""
    check_url(url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://h/abc", "after the host comes / and the number of its database, or nothing"),
        ("redis://h/0/1", "after the host comes"),
        ("redis://h/-1", "after the host comes"),
        ("redis://h/%30", "after the host comes"),
        ("redis+sentinel://h/main/abc", "the number of its database"),
        ("redis://h?decode_responses=true", "^'decode_responses' is not known; its options may be namespace, username"),
        ("redis://h?db=1", "^'db' is not known"),
        ("redis://h?protocol=3", "^'protocol' is not known"),
        ("redis://h?decode_responses", "^'decode_responses' is not known"),
        ("redis://h?a%0Ab=1", r"^'a\\nb' is not known"),
        ("redis://ann:12?secret=x@h/0", "^an option is not known"),
        ("redis://h?namespace=", "^namespace has no value"),
        ("redis://h?sentinel_password=x", "^sentinel_password is for redis.sentinel:// and rediss.sentinel:// only"),
        ("redis://h?ssl_ca_certs=x", "^ssl_ca_certs is for rediss:// and rediss.sentinel:// only"),
        ("rediss://h?ssl_cert_reqs=x", "Certificate Requirements"),
        ("redis://h?socket_timeout=x", "Invalid value for 'socket_timeout'"),
        ("redis://ann:12#secret@h/0", "^there is a # in it; reserved characters of a password are written with %"),
        ("redis://h:x", "^a port in it is no number"),
    ],
)
def test_what_it_may_not_say(url: str, why: str) -> None:
    """What would be passed over, or stop us later, is refused with what is allowed."""
    with pytest.raises(ValueError, match=why) as refused:
        check_url(url)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_docs() -> None:
    """docs/scaling.md has every option."""
    text = DOCS.read_text()
    assert not [
        name
        for name in (*OPTIONS, *TLS_OPTIONS, *SENTINEL_OPTIONS)
        if f"`{name}`" not in text and f"{name}=" not in text
    ]
