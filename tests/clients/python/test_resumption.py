"""What is resumed with, and that nothing is taken twice."""

from peersync.events import AuthSuccessData
from peersync.resumption import HANDLED_AT_ONCE, Resumption


def success(token: str | None, *, recovered: bool = False) -> AuthSuccessData:
    if token is None:
        return {"userId": "ann", "displayName": "Ann"}
    return {
        "userId": "ann",
        "displayName": "Ann",
        "resume": {"token": token, "graceSeconds": 120},
        "recovered": recovered,
    }


def test_a_return() -> None:
    """It resumes from the last event with the latest token; what came twice is taken once."""
    resumption = Resumption()
    assert resumption.claim() is None
    assert not resumption.entered(success("res_1"))
    assert [resumption.takes(offset) for offset in (1, 2, None, 2, 1, 3)] == [True, True, True, False, False, True]
    assert resumption.claim() == {"token": "res_1", "offset": 3}
    assert resumption.entered(success("res_2", recovered=True))
    assert [resumption.takes(offset) for offset in (3, 4)] == [False, True]
    assert resumption.claim() == {"token": "res_2", "offset": 4}


def test_starting_over() -> None:
    """Offsets begin anew; a server that grants nothing is asked for nothing."""
    resumption = Resumption()
    resumption.entered(success("res_1"))
    resumption.takes(7)
    assert not resumption.entered(success("res_2"))
    assert resumption.takes(1)
    assert not resumption.entered(success(None))
    assert resumption.claim() is None


def test_reports() -> None:
    """The server is told what it can let go of, once in a while."""
    resumption = Resumption()
    told = []
    for offset in range(1, 251):
        resumption.takes(offset)
        if resumption.is_report_due():
            told.append(resumption.report())
    assert told == [{"offset": HANDLED_AT_ONCE}, {"offset": 2 * HANDLED_AT_ONCE}]
