"""Access tokens: what is let in, and what is not (RFC 8725)."""

import hmac
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from app.auth.tokens import TokenVerifier, dev_claims, sign
from handlers.ports import Identity
from schemas.errors import ErrorCode, EventError
from stores.memory.stores import MemoryRevocations
from stores.model import Revocation, User
from tests.support.doubles import ANN, START, ManualClock, refused
from tests.support.forge import PKCS1, RS256, SHA256, b64, token
from tests.support.forge import Forge as Signing
from tests.support.tokens import AUDIENCE, ISSUER, Keys

LEEWAY = 5
GOOD = {"sub": "ann", "iss": ISSUER, "aud": AUDIENCE, "exp": START + 60}
DEEP = b"[" * 100_000
INVALID = ErrorCode.TOKEN_INVALID


class FixedKeys:
    """Keys that may have signed any token."""

    def __init__(self, *keys: RSAKey) -> None:
        self.keys = keys

    async def candidates(self, kid: str | None) -> Sequence[RSAKey]:
        assert kid is None or isinstance(kid, str), "looked for before the header was checked"
        return self.keys


class Forge(Signing):
    """Signs anything with the server's key, and verifies."""

    def __init__(self, keys: Keys, name_claim: str = "name") -> None:
        super().__init__(keys)
        self.clock = ManualClock()
        ring = FixedKeys(RSAKey.import_key(self.public_pem))
        self.revocations = MemoryRevocations()
        self.verifier = TokenVerifier(
            ring,
            self.revocations,
            issuer=ISSUER,
            audience=AUDIENCE,
            leeway=LEEWAY,
            clock=self.clock,
            name_claim=name_claim,
        )

    def token(self, payload: object = GOOD, header: object = RS256, key: rsa.RSAPrivateKey | None = None) -> str:
        """Return a token signed with RS256, whatever its header says."""
        return token(header, payload, lambda raw: (key or self.private).sign(raw, PKCS1, SHA256))

    async def verify(self, **claims: object) -> Identity:
        """Verify a token whose signature is good, with these claims changed."""
        return await self.verifier.verify(self.token({**GOOD, **claims}))

    async def assert_refused(self, token: object, code: ErrorCode = INVALID) -> None:
        with refused(code):
            await self.verifier.verify(token)


@pytest.fixture(scope="module")
def forge_of_all(keys: Keys) -> Forge:
    """Make one forge for all: loading a key takes long."""
    return Forge(keys)


@pytest.fixture
def forge(forge_of_all: Forge) -> Forge:
    forge_of_all.clock.time = START
    return forge_of_all


async def test_identity(forge: Forge) -> None:
    """A good token names user, org, name, e-mail, roles and expiry."""
    identity = await forge.verify(org="acme", name="Ann", email="a@b", roles=["x", 5, "", "y"])
    assert identity == Identity(User("ann", "acme"), "Ann", "a@b", ("x", "y"), START + 60)


async def test_what_revocations_and_operators_go_by(forge: Forge) -> None:
    """A good token says when it was issued, which one it is, and what for (RFC 8693 section 4.2), if it does."""
    identity = await forge.verify(iat=START - 5, jti="t1", scope="openid peersync:admin")
    assert (identity.issued_at, identity.token_id, identity.scopes) == (START - 5, "t1", ("openid", "peersync:admin"))
    bare: list[dict[str, object]] = [{}, {"jti": 5, "scope": ["peersync:admin"]}, {"jti": None, "scope": None}]
    for claims in bare:
        identity = await forge.verify(**claims)
        assert (identity.issued_at, identity.token_id, identity.scopes) == (0, None, ())


async def test_revoked(keys: Keys) -> None:
    """A revoked token is ERR_1002, an expired one still ERR_1003, and others are good."""
    forge = Forge(keys)
    for revocation in (
        Revocation(expires_at=START + 100, token_id="t1"),
        Revocation(expires_at=START + 100, user=ANN, issued_before=START - 10),
    ):
        await forge.revocations.add(revocation, START)
    revoked: list[dict[str, object]] = [{"jti": "t1", "iat": START}, {"iat": START - 10.1}, {}]
    for claims in revoked:
        with refused(INVALID) as info:
            await forge.verify(**claims)
        assert "revoked" in info.value.message
    await forge.assert_refused(forge.token({**GOOD, "exp": 0}), ErrorCode.TOKEN_EXPIRED)
    good: list[dict[str, object]] = [{"jti": "t2", "iat": START - 10}, {"sub": "bob"}, {"org": "acme"}]
    for claims in good:
        assert (await forge.verify(**claims)).expires_at == START + 60


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({}, "ann"),
        ({"name": "", "email": 5, "roles": "x"}, "ann"),
        ({"name": "\ud83d", "email": "\ud83d"}, "ann"),
        ({"name": "n" * 200}, "n" * 128),
        ({"sub": "s" * 256, "org": "o" * 256}, "s" * 128),
    ],
)
async def test_what_a_name_may_be(forge: Forge, claims: dict[str, object], name: str) -> None:
    """Name and e-mail that cannot be sent are left out; a name is cut to its limit, and the sub stands in for it."""
    identity = await forge.verify(**claims)
    assert (identity.display_name, identity.email, identity.roles) == (name, None, ())


@pytest.mark.parametrize(
    "prefix", ["", "Bearer ", "bearer ", "Bearer   ", "\t", " Bearer ", "BEARER\t", "\r\nBearer\n"]
)
async def test_prefix(forge: Forge, prefix: str) -> None:
    """A leading `Bearer ` and space around are tolerated."""
    assert (await forge.verifier.verify(f"{prefix}{forge.token()} ")).user == ANN


@pytest.mark.parametrize("token", [None, "", " ", "Bearer ", "bearer \t "])
async def test_missing(forge: Forge, token: object) -> None:
    """No token at all is ERR_1001."""
    await forge.assert_refused(token, ErrorCode.TOKEN_MISSING)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": [AUDIENCE]},
        {"aud": ["other", AUDIENCE, {}]},
        {"nbf": START + LEEWAY, "iat": START + LEEWAY},
        {"exp": START - LEEWAY + 0.1},
    ],
)
async def test_good_claims(forge: Forge, claims: dict[str, object]) -> None:
    """Lists of audiences and times within the leeway are good."""
    assert (await forge.verify(**claims)).user == ANN


async def test_expired(forge: Forge) -> None:
    """A token whose time is up, leeway included, is ERR_1003."""
    for exp in (START - LEEWAY, 0, -1):
        await forge.assert_refused(forge.token({**GOOD, "exp": exp}), ErrorCode.TOKEN_EXPIRED)
    forge.clock.advance(60 + LEEWAY - 0.01)
    assert (await forge.verify()).user == ANN
    forge.clock.advance(0.01)
    await forge.assert_refused(forge.token(), ErrorCode.TOKEN_EXPIRED)


TIMES: list[Any] = [None, "1800000000", True, math.nan, math.inf, -math.inf, [START + 60], {}, 10**400, -(10**400)]
NAMES: list[Any] = [{}, [], 5, True, "", "s" * 257, "\ud83d", "a\udc00b"]
BAD_CLAIMS: dict[str, list[Any]] = {
    "exp": TIMES,
    "nbf": [*TIMES, START + LEEWAY + 0.1],
    "iat": [*TIMES, START + LEEWAY + 0.1],
    "sub": [*NAMES, None],
    "org": NAMES,
    "iss": [None, "", "other", [ISSUER], {}, ISSUER + " "],
    "aud": [None, "", "other", [], ["other"], [[AUDIENCE]], {AUDIENCE: 1}, 5],
}
CASES = [pytest.param(name, bad, id=f"{name}={bad!r:.9}") for name, values in BAD_CLAIMS.items() for bad in values]


@pytest.mark.parametrize(("name", "value"), CASES)
async def test_bad_claims(forge: Forge, name: str, value: object) -> None:
    """A claim of a wrong type, outside its limits or meant for others is ERR_1002, though the signature is good."""
    await forge.assert_refused(forge.token({**GOOD, name: value}))


@pytest.mark.parametrize("name", GOOD)
async def test_missing_claims(forge: Forge, name: str) -> None:
    """A token without one of the claims it must have is ERR_1002."""
    await forge.assert_refused(forge.token({key: value for key, value in GOOD.items() if key != name}))


async def test_other_algorithms(forge: Forge) -> None:
    """Nothing but RS256 counts, not even HS256 keyed with the public key, nor no signature at all."""
    pss = padding.PSS(padding.MGF1(SHA256), SHA256.digest_size)
    elliptic = ec.generate_private_key(ec.SECP256R1())
    signatures: dict[str, Callable[[bytes], bytes]] = {
        "none": lambda _: b"",
        "None": lambda _: b"",
        "": lambda _: b"",
        "HS256": lambda raw: hmac.digest(forge.public_pem, raw, "sha256"),
        "RS512": lambda raw: forge.private.sign(raw, PKCS1, hashes.SHA512()),
        "PS256": lambda raw: forge.private.sign(raw, pss, SHA256),
        "ES256": lambda raw: elliptic.sign(raw, ec.ECDSA(SHA256)),
    }
    for kind, signature in signatures.items():
        signed = f"{b64({'alg': kind})}.{b64(GOOD)}"
        await forge.assert_refused(f"{signed}.{b64(signature(signed.encode()))}")


BAD_KIDS: list[object] = [5, None, True, ["a"], {}]
BAD_HEADERS: list[object] = [
    *({"alg": "RS512"}, {"alg": ["RS256"]}, {"alg": None}, {"alg": "rs256"}, {"typ": "JWT"}, [], "RS256", 5, b"\xff"),
    *({**RS256, "kid": kid} for kid in BAD_KIDS),
    *({**RS256, "crit": ["exp"]}, {**RS256, "crit": ["b64"], "b64": False}, {**RS256, "b64": False}),
    *(DEEP, b'{"alg":"RS256","a":' + DEEP + b"]" * 100_000 + b"}", b'{"alg":"RS256","a":' + b"9" * 5000 + b"}"),
]
BAD_PAYLOADS: list[object] = [
    *([], 5, "ann", [GOOD], b"", b"\xff", b"{", DEEP),
    *(b'{"sub":' + DEEP + b"]" * 100_000 + b"}", b'{"exp":' + b"9" * 5000 + b"}"),
]


@pytest.mark.parametrize("header", BAD_HEADERS, ids=lambda header: f"{header!r:.30}")
async def test_bad_headers(forge: Forge, header: object) -> None:
    """A header that asks for something else than plain RS256, or is none, is ERR_1002 though the signature is good."""
    await forge.assert_refused(forge.token(header=header))


@pytest.mark.parametrize("payload", BAD_PAYLOADS, ids=lambda payload: f"{payload!r:.20}")
async def test_bad_payloads(forge: Forge, payload: object) -> None:
    """A payload that is no object is ERR_1002 though the signature is good."""
    await forge.assert_refused(forge.token(payload))


async def test_keys_in_headers(forge: Forge) -> None:
    """A key that the token itself brings or points to is never used; hints that do not matter do no harm."""
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    numbers = stranger.public_key().public_numbers()
    jwk = {"kty": "RSA", "n": b64(numbers.n.to_bytes(256, "big")), "e": b64(numbers.e.to_bytes(3, "big"))}
    for extra in ({}, {"jwk": jwk}, {"jku": "http://127.0.0.1:1/"}, {"x5u": "http://127.0.0.1:1/"}, {"kid": "../x"}):
        await forge.assert_refused(forge.token(header={**RS256, **extra}, key=stranger))
    for hint in ({"kid": "junk"}, {"typ": "JWT"}, {"jku": "http://127.0.0.1:1/"}):
        assert (await forge.verifier.verify(forge.token(header={**RS256, **hint}))).user == ANN


@pytest.mark.parametrize("crit", [[], ["exp"], ["kid"], ["b64"], None, "", {}, 0])
async def test_crit(forge: Forge, crit: object) -> None:
    """A header that names what must be understood, be it nothing at all, is refused (RFC 7515 section 4.1.11)."""
    await forge.assert_refused(forge.token(header={**RS256, "crit": crit, "kid": "x", "b64": True}))


@pytest.mark.parametrize(
    ("header", "others", "why"),
    [
        (RS256, 0, "its signature is wrong"),
        (RS256, 1, "it has no kid"),
        ({**RS256, "kid": "x"}, 1, "its signature is wrong"),
        (RS256, -1, "it has no kid"),
        ({**RS256, "kid": "x"}, -1, "no key here has its kid"),
        ({"alg": "HS256"}, 0, "its alg is not RS256"),
        ({"alg": "ES256"}, 0, "its alg is not RS256"),
    ],
)
async def test_why(forge: Forge, header: dict[str, object], others: int, why: str) -> None:
    """The refusal says what is missing: `others` more keys may have signed it besides one that did not."""
    keys = FixedKeys(*[RSAKey.generate_key(2048) for _ in range(others + 1)])
    verifier = TokenVerifier(
        keys, forge.revocations, issuer=ISSUER, audience=AUDIENCE, leeway=LEEWAY, clock=forge.clock
    )
    with refused(INVALID) as refusal:
        await verifier.verify(forge.token(header=header))
    assert why in refusal.value.message


async def test_when_it_is_looked_at(forge: Forge) -> None:
    """A missing or malformed token takes no look; one whose signature is to be verified takes one."""
    looks: list[None] = []

    def look() -> None:
        looks.append(None)

    for junk in (None, "", 5, "x", "a.b.c", forge.token(header={"alg": "none"}), forge.token(header=b"junk")):
        with pytest.raises(EventError):
            await forge.verifier.verify(junk, look)
    assert looks == []
    await forge.verifier.verify(forge.token(), look)
    with pytest.raises(EventError):
        await forge.verifier.verify(forge.token()[:-9], look)
    assert len(looks) == 2


@pytest.mark.parametrize("jti", ["j" * 257, ""])
async def test_a_useless_jti(forge: Forge, jti: str) -> None:
    """A `jti` that nothing can be revoked by counts for nothing."""
    assert (await forge.verify(jti=jti)).token_id is None


@pytest.mark.parametrize(
    ("path", "claims", "name"),
    [
        ("user_metadata.full_name", {"user_metadata": {"full_name": "Ann B"}, "name": "x"}, "Ann B"),
        ("https://example.com/name", {"https://example.com/name": "Ann B", "name": "x"}, "Ann B"),
        ("a.b.c", {"a": {"b": {"c": "Ann B"}}}, "Ann B"),
        ("preferred_username", {"preferred_username": "annb", "name": "x"}, "annb"),
        ("user_metadata.full_name", {"user_metadata": {"full_name": 5}, "name": "Ann"}, "Ann"),
        ("user_metadata.full_name", {"user_metadata": "x", "name": "Ann"}, "Ann"),
        ("user_metadata.full_name", {"user_metadata": [{"full_name": "x"}], "name": " "}, "ann"),
        ("user_metadata", {"user_metadata": {"full_name": "x"}}, "ann"),
        (".", {"": {"": "x"}}, "x"),
        ("n", {"n": "n" * 200}, "n" * 128),
    ],
)
async def test_where_the_name_is(keys: Keys, path: str, claims: dict[str, object], name: str) -> None:
    """The name is the claim of JWT_NAME_CLAIM, or what that path leads to; else `name`, and else the sub."""
    forge = Forge(keys, name_claim=path)
    assert (await forge.verify(**claims)).display_name == name


async def test_swapped_parts(forge: Forge) -> None:
    """Parts of two good tokens do not make a third."""
    head, body, signature = forge.token().split(".")
    await forge.assert_refused(f"{head}.{b64({**GOOD, 'sub': 'bob'})}.{signature}")
    await forge.assert_refused(f"{b64({**RS256, 'kid': 'x'})}.{body}.{signature}")
    for parts in (
        (head, body, ""),
        (head, "", signature),
        ("", body, signature),
        (head, body),
        (body, head, signature),
    ):
        await forge.assert_refused(".".join(parts))
    await forge.assert_refused(f"{head}.{body}.{signature}.{signature}")
    await forge.assert_refused(f"{head}.{body}.{signature}=")


GARBAGE: list[object] = [
    *(5, True, {"token": "x"}, ["a"], b"x", 1.5),
    *(".", "..", "...", "a.b.c", "é.é.é", "\ud83d", "\0", "{}", "Bearer", "Bearer Bearer x"),
    *("x" * 1_000_000, "." * 1_000_000, "e30." * 250_000),
]


@pytest.mark.parametrize("token", GARBAGE, ids=lambda token: f"{token!r:.20}")
async def test_garbage(forge: Forge, token: object) -> None:
    """What is no token is ERR_1002 and never breaks anything."""
    await forge.assert_refused(token)


@settings(deadline=None)
@given(data=st.data())
async def test_mutations(forge_of_all: Forge, data: st.DataObject) -> None:
    """No change to a good token leaves it good, and none raises anything but a refusal."""
    token = forge_of_all.token()
    start = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(start, min(len(token), start + 3)))
    mutated = token[:start] + data.draw(st.text(max_size=3) | st.sampled_from([".", "=", "A", "_"])) + token[end:]
    assume(mutated.strip() != token)
    with pytest.raises(EventError):
        await forge_of_all.verifier.verify(mutated)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.lists(st.text())


@settings(deadline=None)
@given(claims=st.dictionaries(st.sampled_from([*GOOD, "org", "nbf", "iat", "name", "email", "roles"]), VALUES))
async def test_any_claims(forge_of_all: Forge, claims: dict[str, object]) -> None:
    """Whatever a signed payload holds, it is refused in order or names somebody."""
    try:
        await forge_of_all.verify(**claims)
    except EventError as refusal:
        assert refusal.code in {INVALID, ErrorCode.TOKEN_EXPIRED}  # noqa: PT017 - both ends are good


async def test_dev_claims(forge: Forge, keys: Keys) -> None:
    """Development claims are good for their time and leave out what is not given."""
    claims = dev_claims(ANN, issuer=ISSUER, audience=AUDIENCE, now=START + 0.9, ttl=60, name="Ann", email=None)
    assert claims == {**GOOD, "name": "Ann", "iat": START, "exp": START + 60}
    assert await forge.verifier.verify(sign(keys.key, claims)) == Identity(ANN, "Ann", None, (), START + 60, START)
