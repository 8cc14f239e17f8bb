"""Tokens that must not let anybody in: each over socket and REST alike, and good ones beside them.

What an attacker can have is the public key, any token that was ever issued, and keys of its own. The claims that are
wrong in themselves are signed by the right key: a careless issuer must not open the door either.
"""

import hmac
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from joserfc import jwe
from joserfc.jwk import OctKey, RSAKey
from joserfc.util import int_to_base64
from websockets.exceptions import ConnectionClosed

from app.wire.http import MAX_HEAD_BYTES
from tests.support.client import PATIENCE, client
from tests.support.forge import PKCS1, RS256, SHA256, Forge, b64, token
from tests.support.issuer import Issuer
from tests.support.server import Server
from tests.support.tokens import AUDIENCE, ISSUER, Keys

MAX_HEAD = 16_384
INVALID, EXPIRED, MISSING = "ERR_1002", "ERR_1003", "ERR_1001"
LEEWAY = 5
PSS = padding.PSS(padding.MGF1(SHA256), SHA256.digest_size)
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024)
ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()
DEV_NULL = "../../../../../../dev/null"


class Answer(NamedTuple):
    """What a token comes to: a code if it is refused, else the user it names."""

    code: str | None
    user: str | None = None


class Attacker(Forge):
    """Has what an attacker can have, and may let the right key sign anything."""

    def __init__(self, keys: Keys, jwks_url: str) -> None:
        super().__init__(keys)
        self.jwks_url = jwks_url
        self.kid = keys.key.thumbprint()
        public = self.private.public_key()
        self.der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.numbers = public.public_numbers()
        self.encrypting = RSAKey.import_key(self.public_pem)

    def good(self, **claims: object) -> dict[str, object]:
        """Return good claims, but for these."""
        now = int(time.time())
        return {"sub": "ann", "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 300, **claims}

    def without(self, name: str) -> str:
        return token(RS256, {key: value for key, value in self.good().items() if key != name}, self.sign)

    def claiming(self, **claims: object) -> str:
        """Return a token of the right key with these claims."""
        return token(RS256, self.good(**claims), self.sign)

    def heading(self, **header: object) -> str:
        """Return a token of the right key with this header."""
        return token({**RS256, **header}, self.good(), self.sign)

    def paying(self, payload: bytes) -> str:
        """Return a token of the right key with this payload."""
        return token(RS256, payload, self.sign)

    def posing(self, **header: object) -> str:
        """Return a token of a stranger's key with this header."""
        return token({**RS256, **header}, self.good(), stranger)

    def hmac(self, secret: bytes, **header: object) -> str:
        """Return a token of HS256 keyed with this."""
        return token({"alg": "HS256", **header}, self.good(), lambda raw: hmac.digest(secret, raw, "sha256"))

    def signed(self, algorithm: object, sign: Callable[[bytes], bytes]) -> str:
        """Return a token that says it is of this algorithm."""
        return token({"alg": algorithm}, self.good(), sign)

    def parts(self) -> list[str]:
        """Return header, payload and signature of a good token."""
        return self.claiming().split(".")

    def joined(self, *order: int) -> str:
        """Return a good token's parts in another order."""
        parts = self.parts()
        return ".".join(parts[number] for number in order)

    def mixed(self, number: int, part: str) -> str:
        """Return a good token with another part in place of one of its own."""
        parts = self.parts()
        parts[number] = part
        return ".".join(parts)

    def later(self) -> int:
        return int(time.time()) + LEEWAY + 60

    def payload_of(self, extra: str) -> bytes:
        """Return good claims as JSON with this put at the end."""
        return (json.dumps(self.good())[:-1] + f", {extra}}}").encode()


def stranger(raw: bytes) -> bytes:
    return STRANGER.sign(raw, PKCS1, SHA256)


def public_jwk(key: rsa.RSAPrivateKey = STRANGER) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "n": int_to_base64(numbers.n), "e": int_to_base64(numbers.e)}


def no_signature(_: bytes) -> bytes:
    return b""


def altered(a: Attacker, change: Callable[[str], str]) -> str:
    """Return a good token with its signature changed."""
    head, body, signature = a.parts()
    return f"{head}.{body}.{change(signature)}"


def next_letter(text: str) -> str:
    """Return the text with its last letter changed in bits that base64 does not use."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) + 1]


def flattened(a: Attacker) -> str:
    head, body, signature = a.parts()
    return json.dumps({"protected": head, "payload": body, "signature": signature})


def general(a: Attacker) -> str:
    head, body, signature = a.parts()
    return json.dumps({"payload": body, "signatures": [{"protected": head, "signature": signature}]})


def encrypted(a: Attacker) -> str:
    header = {"alg": "RSA-OAEP", "enc": "A128GCM"}
    return jwe.encrypt_compact(header, json.dumps(a.good()), a.encrypting, algorithms=["RSA-OAEP", "A128GCM"])


def encrypted_directly(a: Attacker) -> str:
    key = OctKey.import_key(a.der[:16])
    header = {"alg": "dir", "enc": "A128GCM"}
    return jwe.encrypt_compact(header, json.dumps(a.good()), key, algorithms=["dir", "A128GCM"])


def padded_payload(a: Attacker) -> str:
    head = b64(RS256)
    body = b64(a.good(pad="x"))
    body += "=" * (-len(body) % 4) or "===="
    return f"{head}.{body}.{b64(a.sign(f'{head}.{body}'.encode()))}"


def spaced_payload(a: Attacker, space: str) -> str:
    head, body = b64(RS256), b64(a.good())
    body = f"{body[:8]}{space}{body[8:]}"
    return f"{head}.{body}.{b64(a.sign(f'{head}.{body}'.encode()))}"


def in_plain_base64(a: Attacker) -> str:
    """Return a token whose signature is written with `+` and `/`, which almost all of them need."""
    tokens = (a.claiming(number=number).split(".") for number in count())
    head, body, signature = next(parts for parts in tokens if "-" in parts[2] or "_" in parts[2])
    return f"{head}.{body}.{signature.replace('-', '+').replace('_', '/')}"


ALGORITHMS: dict[str, Callable[[Attacker], str]] = {
    "none": lambda a: a.signed("none", no_signature),
    "none in other case": lambda a: a.signed("nOnE", no_signature),
    "none with a good signature": lambda a: a.signed("none", a.sign),
    "HS256 keyed with the PEM": lambda a: a.hmac(a.public_pem),
    "HS256 keyed with the PEM, stripped": lambda a: a.hmac(a.public_pem.strip()),
    "HS256 keyed with the DER": lambda a: a.hmac(a.der),
    "HS256 keyed with the modulus": lambda a: a.hmac(a.numbers.n.to_bytes(256, "big")),
    "HS256 keyed with the modulus in base64": lambda a: a.hmac(int_to_base64(a.numbers.n).encode()),
    "HS256 keyed with nothing": lambda a: a.hmac(b""),
    "HS512 keyed with the PEM": lambda a: a.signed("HS512", lambda raw: hmac.digest(a.public_pem, raw, "sha512")),
    "RS384": lambda a: a.signed("RS384", lambda raw: a.private.sign(raw, PKCS1, hashes.SHA384())),
    "RS512": lambda a: a.signed("RS512", lambda raw: a.private.sign(raw, PKCS1, hashes.SHA512())),
    "RS512 that says it is RS256": lambda a: a.signed("RS256", lambda raw: a.private.sign(raw, PKCS1, hashes.SHA512())),
    "PS256": lambda a: a.signed("PS256", lambda raw: a.private.sign(raw, PSS, SHA256)),
    "PS256 that says it is RS256": lambda a: a.signed("RS256", lambda raw: a.private.sign(raw, PSS, SHA256)),
    "ES256": lambda a: a.signed("ES256", lambda raw: ELLIPTIC.sign(raw, ec.ECDSA(SHA256))),
    "EdDSA": lambda a: a.signed("EdDSA", EDWARDS.sign),
    "alg in lower case": lambda a: a.signed("rs256", a.sign),
    "alg with a space": lambda a: a.signed("RS256 ", a.sign),
    "alg as a list": lambda a: a.signed(["RS256"], a.sign),
    "alg as a number": lambda a: a.signed(256, a.sign),
    "alg null": lambda a: a.signed(None, a.sign),
    "alg missing": lambda a: token({"typ": "JWT"}, a.good(), a.sign),
    "alg of encryption": lambda a: a.signed("RSA-OAEP", a.sign),
    "alg twice, none last": lambda a: token(b'{"alg":"RS256","alg":"none"}', a.good(), a.sign),
    "alg twice, none first": lambda a: token(b'{"alg":"none","alg":"RS256"}', a.good(), a.sign),
}
HEADERS: dict[str, Callable[[Attacker], str]] = {
    "crit of a known name": lambda a: a.heading(crit=["exp"], exp=0),
    "crit of an unknown name": lambda a: a.heading(crit=["x-mfa"], **{"x-mfa": True}),
    "crit of what is missing": lambda a: a.heading(crit=["x-mfa"]),
    "crit empty": lambda a: a.heading(crit=[]),
    "crit of a header that is known": lambda a: a.heading(crit=["kid"], kid=a.kid),
    "crit of b64 that changes nothing": lambda a: a.heading(b64=True, crit=["b64"]),
    "crit an empty string": lambda a: a.heading(crit=""),
    "crit an object": lambda a: a.heading(crit={}),
    "crit false": lambda a: a.heading(crit=False),
    "crit twice, empty last": lambda a: token(b'{"alg":"RS256","crit":["x"],"crit":[]}', a.good(), a.sign),
    "b64 null": lambda a: a.heading(b64=None),
    "b64 a string": lambda a: a.heading(b64="false"),
    "kid long": lambda a: a.heading(kid="k" * 2000),
    "typ a number": lambda a: a.heading(typ=1),
    "typ null": lambda a: a.heading(typ=None),
    "typ a list": lambda a: a.heading(typ=["JWT"]),
    "typ of a logout token": lambda a: a.heading(typ="logout+jwt"),
    "typ of a proof, in full": lambda a: a.heading(typ="application/DPoP+JWT"),
    "crit no list": lambda a: a.heading(crit="exp"),
    "crit null": lambda a: a.heading(crit=None),
    "b64 false": lambda a: a.heading(b64=False),
    "b64 false and critical": lambda a: a.heading(b64=False, crit=["b64"]),
    "b64 false, payload bare": lambda a: token({**RS256, "b64": False, "crit": ["b64"]}, a.good(), a.sign),
    "jku": lambda a: a.posing(jku=a.jwks_url),
    "jku and kid": lambda a: a.posing(jku=a.jwks_url, kid="key 1"),
    "x5u": lambda a: a.posing(x5u=a.jwks_url),
    "x5c": lambda a: a.posing(x5c=[b64(b"certificate")]),
    "jwk": lambda a: a.posing(jwk=public_jwk()),
    "jwk and our kid": lambda a: a.posing(jwk={**public_jwk(), "kid": a.kid}, kid=a.kid),
    "jwk that is a secret": lambda a: a.hmac(b"secret", jwk={"kty": "oct", "k": b64(b"secret")}),
    "jwk, weak": lambda a: token(
        {**RS256, "jwk": public_jwk(WEAK)}, a.good(), lambda raw: WEAK.sign(raw, PKCS1, SHA256)
    ),
    "kid of a file that is empty": lambda a: a.hmac(b"", kid=DEV_NULL),
    "kid of a file, another key": lambda a: a.posing(kid=DEV_NULL),
    "kid that is SQL": lambda a: a.hmac(b"secret", kid="x' UNION SELECT 'secret' --"),
    "kid that is a command": lambda a: a.posing(kid="|touch /tmp/pwned"),
    "kid that is a URL": lambda a: a.posing(kid=a.jwks_url),
    "kid empty, another key": lambda a: a.posing(kid=""),
    "kid unknown, another key": lambda a: a.posing(kid="unknown"),
    "kid of ours, another key": lambda a: a.posing(kid=a.kid),
    "kid of ours, HS256": lambda a: a.hmac(a.public_pem, kid=a.kid),
    "kid a number": lambda a: a.heading(kid=1),
    "kid null": lambda a: a.heading(kid=None),
    "kid a list": lambda a: a.heading(kid=[a.kid]),
    "kid an object": lambda a: a.heading(kid={"$ne": ""}),
    "header a list": lambda a: token(["alg", "RS256"], a.good(), a.sign),
    "header a string": lambda a: token('"alg":"RS256"', a.good(), a.sign),
    "header a number": lambda a: token(5, a.good(), a.sign),
    "header null": lambda a: token(None, a.good(), a.sign),
    "header no JSON": lambda a: token(b"alg=RS256", a.good(), a.sign),
    "header in UTF-16": lambda a: token(json.dumps(RS256).encode("utf-16"), a.good(), a.sign),
    "header no UTF-8": lambda a: token(b'{"alg":"RS256","a":"\xff"}', a.good(), a.sign),
    "header deep": lambda a: token(b'{"alg":"RS256","a":' + b"[" * 10_000, a.good(), a.sign),
    "header long": lambda a: a.heading(pad="x" * 20_000),
}
CLAIMS: dict[str, Callable[[Attacker], str]] = {
    "exp missing": lambda a: a.without("exp"),
    "exp null": lambda a: a.claiming(exp=None),
    "exp a string": lambda a: a.claiming(exp=str(a.later())),
    "exp a date": lambda a: a.claiming(exp="2099-01-01T00:00:00Z"),
    "exp true": lambda a: a.claiming(exp=True),
    "exp a list": lambda a: a.claiming(exp=[a.later()]),
    "exp NaN": lambda a: a.claiming(exp=float("nan")),
    "exp Infinity": lambda a: a.claiming(exp=float("inf")),
    "exp -Infinity": lambda a: a.claiming(exp=float("-inf")),
    "exp false": lambda a: a.claiming(exp=False),
    "exp an object": lambda a: a.claiming(exp={}),
    "nbf Infinity": lambda a: a.claiming(nbf=float("inf")),
    "nbf null": lambda a: a.claiming(nbf=None),
    "nbf of 400 digits": lambda a: a.claiming(nbf=10**400),
    "iat true": lambda a: a.claiming(iat=True),
    "iat null": lambda a: a.claiming(iat=None),
    "iat NaN": lambda a: a.claiming(iat=float("nan")),
    "iat -Infinity": lambda a: a.claiming(iat=float("-inf")),
    "aud a list within a list": lambda a: a.claiming(aud=[[AUDIENCE]]),
    "exp 1e400": lambda a: a.paying(json.dumps(a.good(exp=0)).replace('"exp": 0', '"exp": 1e400').encode()),
    "exp of 400 digits": lambda a: a.claiming(exp=10**400),
    "exp in milliseconds": lambda a: a.claiming(exp=a.later() * 1000),
    "nbf in the future": lambda a: a.claiming(nbf=a.later()),
    "nbf a string": lambda a: a.claiming(nbf="0"),
    "nbf true": lambda a: a.claiming(nbf=True),
    "nbf NaN": lambda a: a.claiming(nbf=float("nan")),
    "iat in the future": lambda a: a.claiming(iat=a.later()),
    "iat a string": lambda a: a.claiming(iat="0"),
    "sub missing": lambda a: a.without("sub"),
    "sub null": lambda a: a.claiming(sub=None),
    "sub empty": lambda a: a.claiming(sub=""),
    "sub an object": lambda a: a.claiming(sub={"id": "ann"}),
    "sub a list": lambda a: a.claiming(sub=["ann"]),
    "sub a number": lambda a: a.claiming(sub=5),
    "sub true": lambda a: a.claiming(sub=True),
    "sub of 257 characters": lambda a: a.claiming(sub="s" * 257),
    "sub half a surrogate pair": lambda a: a.claiming(sub="\ud83d"),
    "org empty": lambda a: a.claiming(org=""),
    "org an object": lambda a: a.claiming(org={}),
    "org of 257 characters": lambda a: a.claiming(org="o" * 257),
    "iss missing": lambda a: a.without("iss"),
    "iss another": lambda a: a.claiming(iss="https://evil.example.com"),
    "iss with a slash more": lambda a: a.claiming(iss=f"{ISSUER}/"),
    "iss a list": lambda a: a.claiming(iss=[ISSUER]),
    "aud missing": lambda a: a.without("aud"),
    "aud another": lambda a: a.claiming(aud="another"),
    "aud a list of others": lambda a: a.claiming(aud=["another", "account"]),
    "aud an empty list": lambda a: a.claiming(aud=[]),
    "aud with a letter more": lambda a: a.claiming(aud=f"{AUDIENCE}x"),
    "aud an object": lambda a: a.claiming(aud={AUDIENCE: True}),
    "a claim twice": lambda a: a.paying(a.payload_of('"sub": "root"')),
    "a claim twice, deep within": lambda a: a.paying(a.payload_of('"a": [{"b": 1, "b": 2}]')),
    "payload a list": lambda a: a.paying(json.dumps([a.good()]).encode()),
    "payload a string": lambda a: a.paying(b'"ann"'),
    "payload null": lambda a: a.paying(b"null"),
    "payload empty": lambda a: a.paying(b""),
    "payload no JSON": lambda a: a.paying(b"sub=ann"),
    "payload no UTF-8": lambda a: a.paying(a.payload_of('"a": "?"').replace(b"?", b"\xff")),
    "payload in UTF-16": lambda a: a.paying(json.dumps(a.good()).encode("utf-16")),
    "payload with a byte order mark": lambda a: a.paying(b"\xef\xbb\xbf" + json.dumps(a.good()).encode()),
    "payload and more": lambda a: a.paying(json.dumps(a.good()).encode() + b"{}"),
    "payload deep": lambda a: a.paying(a.payload_of('"a": ' + "[" * 20_000 + "]" * 20_000)),
    "payload with an endless number": lambda a: a.paying(a.payload_of('"a": ' + "9" * 10_000)),
    "nested token": lambda a: token({**RS256, "cty": "JWT"}, a.claiming().encode(), a.sign),
}
FORMS: dict[str, Callable[[Attacker], str]] = {
    "parts swapped": lambda a: a.joined(1, 0, 2),
    "payload of another": lambda a: a.mixed(1, b64(a.good(sub="root"))),
    "header of another": lambda a: a.mixed(0, b64({**RS256, "typ": "JWT"})),
    "signature of another": lambda a: altered(a, lambda _: a.claiming(sub="bob").split(".")[2]),
    "no signature": lambda a: altered(a, lambda _: ""),
    "no payload": lambda a: a.mixed(1, ""),
    "no header": lambda a: a.mixed(0, ""),
    "two parts": lambda a: a.joined(0, 1),
    "one part": lambda a: a.parts()[1],
    "four parts": lambda a: ".".join([*a.parts(), ""]),
    "five parts": lambda a: ".".join([*a.parts(), "a", "b"]),
    "dots": lambda _: "..",
    "many dots": lambda _: "." * 20_000,
    "another key": lambda a: a.posing(),
    "a weak key": lambda a: a.signed("RS256", lambda raw: WEAK.sign(raw, PKCS1, SHA256)),
    "signature of zeros": lambda a: a.signed("RS256", lambda _: bytes(256)),
    "signature of ones": lambda a: a.signed("RS256", lambda _: b"\xff" * 256),
    "signature that is the modulus": lambda a: a.signed("RS256", lambda _: a.numbers.n.to_bytes(256, "big")),
    "signature of the payload alone": lambda a: a.signed("RS256", lambda raw: a.sign(raw.split(b".")[1])),
    "signature a letter shorter": lambda a: altered(a, lambda signature: signature[:-1]),
    "signature half": lambda a: altered(a, lambda signature: signature[:171]),
    "signature a zero longer": lambda a: a.signed("RS256", lambda raw: a.sign(raw) + b"\0"),
    "signature led by a zero": lambda a: a.signed("RS256", lambda raw: b"\0" + a.sign(raw)),
    "signature twice": lambda a: altered(a, lambda signature: signature + signature),
    "signature padded": lambda a: altered(a, lambda signature: f"{signature}=="),
    "signature in unused bits": lambda a: altered(a, next_letter),
    "signature in plain base64": in_plain_base64,
    "signature with a space": lambda a: altered(a, lambda signature: f"{signature[:9]} {signature[9:]}"),
    "payload padded": padded_payload,
    "payload with a space": lambda a: spaced_payload(a, " "),
    "payload with a newline": lambda a: spaced_payload(a, "\n"),
    "payload with a letter of no alphabet": lambda a: spaced_payload(a, "!"),
    "newline between parts": lambda a: ".\n".join(a.parts()),
    "null byte at the end": lambda a: a.claiming() + "\0",
    "null byte within": lambda a: a.claiming().replace(".", "\0.", 1),
    "wide dots": lambda a: "\uff0e".join(a.parts()),
    "zero-width space": lambda a: a.claiming() + "\u200b",
    "no-break space": lambda a: a.claiming() + "\u00a0",
    "separator that Python strips": lambda a: a.claiming() + "\x1f",
    "byte order mark": lambda a: "\ufeff" + a.claiming(),
    "half a surrogate pair": lambda a: a.claiming() + "\ud83d",
    "dots in percent": lambda a: "%2E".join(a.parts()),
    "in quotes": lambda a: f'"{a.claiming()}"',
    "two of them": lambda a: f"{a.claiming()},{a.claiming()}",
    "Bearer twice": lambda a: f"Bearer Bearer {a.claiming()}",
    "JWE to our key": encrypted,
    "JWE with our key as secret": encrypted_directly,
    "flattened JSON": flattened,
    "general JSON": general,
    "60 KB of junk": lambda _: "x" * 60_000,
    "60 KB of a payload": lambda a: a.posing() + "x" * 58_000,
}
ATTACKS = {
    **{name: (INVALID, make) for kinds in (ALGORITHMS, HEADERS, CLAIMS, FORMS) for name, make in kinds.items()},
    "expired": (EXPIRED, lambda a: a.claiming(exp=time.time() - LEEWAY - 1)),
    "expired long ago": (EXPIRED, lambda a: a.claiming(exp=0)),
    "expired before time began": (EXPIRED, lambda a: a.claiming(exp=-1)),
    "nothing": (MISSING, lambda _: ""),
    "Bearer of nothing": (MISSING, lambda _: "Bearer "),
}
GOOD: dict[str, Callable[[Attacker], str]] = {
    "plain": lambda a: a.claiming(),
    "of few claims": lambda a: a.without("iat"),
    "our kid": lambda a: a.heading(kid=a.kid),
    "the issuer's own kid": lambda a: a.heading(kid="2026-01"),
    "typ": lambda a: a.heading(typ="at+jwt"),
    "typ in full": lambda a: a.heading(typ="application/AT+JWT"),
    "typ of old": lambda a: a.heading(typ="JWT"),
    "typ of nobody": lambda a: a.heading(typ="Bearer"),
    "b64 true": lambda a: a.heading(b64=True),
    "unknown header": lambda a: a.heading(x5t="junk", more={"a": 1}),
    "aud a list": lambda a: a.claiming(aud=["account", AUDIENCE]),
    "times within the leeway": lambda a: a.claiming(iat=time.time() + 2, nbf=time.time() + 2),
    "just expired": lambda a: a.claiming(exp=time.time() - 2),
    "exp a fraction": lambda a: a.claiming(exp=time.time() + 60.5),
    "unknown claims": lambda a: a.claiming(jti="x", azp="y", realm_access={"roles": ["a"]}),
    "name in Japanese": lambda a: a.claiming(name="花子"),
    "Bearer before it": lambda a: f"Bearer {a.claiming()}",
    "space around it": lambda a: f"  {a.claiming()}\t ",
    "large": lambda a: a.claiming(groups=["g" * 50] * 500),
}


@pytest.fixture(scope="module")
def attacker(keys: Keys, lure: Issuer) -> Attacker:
    return Attacker(keys, lure.jwks_url)


@pytest.fixture(scope="module")
def lure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    """A server with keys of the attacker's, to which its tokens point."""
    issuer = Issuer(tmp_path_factory.mktemp("lure"))
    with issuer.serving():
        yield issuer
    assert issuer.asked == 0, "the server fetched a key that a token pointed to"


def test_how_many() -> None:
    """There are enough kinds of attack, and of good tokens to see that not everything is refused."""
    assert len(ATTACKS) >= 40
    assert len(GOOD) >= 10


@pytest.mark.parametrize("kind", ATTACKS)
async def test_attack(kind: str, attacker: Attacker, server: Server) -> None:
    """The token is refused over socket and REST, with the same code, unless HTTP cannot even carry it.

    A head that is too large is told so if it does not arrive at once.
    """
    code, make = ATTACKS[kind]
    attempt = make(attacker)
    assert await over_socket(server, attempt) == Answer(code)
    expected = [Answer(code if is_header(attempt) else None)]
    if len(attempt) > MAX_HEAD_BYTES:
        expected.append(Answer("HEAD_TOO_LARGE"))
    assert await over_rest(server, attempt) in expected


@pytest.mark.parametrize("kind", GOOD)
async def test_good(kind: str, attacker: Attacker, server: Server) -> None:
    """A good token is taken over socket and REST, and names the same user."""
    attempt = GOOD[kind](attacker)
    assert await over_socket(server, attempt) == Answer(None, "ann") == await over_rest(server, attempt)


async def test_a_megabyte(attacker: Attacker, server: Server) -> None:
    """A token of a megabyte is refused: over a socket the frame is too large, over REST the head."""
    attempt = attacker.claiming(pad="x" * 750_000)
    async with client(server) as ann:
        with suppress(ConnectionClosed):
            await ann.send("AUTH", token=attempt)
        await ann.expect_close(1009)
    assert await over_rest(server, attempt) == Answer("HEAD_TOO_LARGE")


async def over_socket(server: Server, attempt: str) -> Answer:
    """Return what AUTH answers; a refusal closes with 4001."""
    async with client(server) as ann:
        await ann.send("AUTH", token=attempt)
        frame = json.loads(await ann.receive())
        if frame["event"] == "AUTH_SUCCESS":
            return Answer(None, frame["data"]["userId"])
        assert frame["event"] == "AUTH_FAILED"
        await ann.expect_close(4001)
        return Answer(frame["data"]["code"])


async def over_rest(server: Server, attempt: str) -> Answer:
    """Return what REST answers; without a code if it is not even HTTP."""
    header = b"Authorization: Bearer " + attempt.encode(errors="surrogatepass")
    request = b"GET /api/v1/auth/verify HTTP/1.1\r\nHost: here\r\nConnection: close\r\n" + header + b"\r\n\r\n"
    with anyio.fail_after(PATIENCE):
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            await stream.send(request)
            response = BufferedByteReceiveStream(stream)
            head = await response.receive_until(b"\r\n\r\n", MAX_HEAD)
            body = await response.receive_exactly(length_of(head))
    status = int(head.split()[1])
    if status == 400:
        return Answer(None)
    answer: dict[str, Any] = json.loads(body)
    assert status == {None: 200, "HEAD_TOO_LARGE": 431}.get(answer.get("code"), 401)
    return Answer(answer.get("code"), answer.get("userId"))


def length_of(head: bytes) -> int:
    """Return how long the body after this head is."""
    found = re.search(rb"^content-length: (\d+)", head, re.MULTILINE | re.IGNORECASE)
    assert found
    return int(found[1])


def is_header(attempt: str) -> bool:
    """Whether it can be a header's value (RFC 9110 section 5.5)."""
    return not any(char < " " and char != "\t" for char in attempt)
