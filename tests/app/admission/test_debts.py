"""What users owe when their sockets close."""

from app.admission.debts import Debts
from stores.model import User

ANN, BOB, CID = User("ann"), User("bob"), User("cid")


class Watch:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.debts = Debts(lambda: self.time, max_users=2)


def test_a_debt_follows_its_user() -> None:
    """A user's next socket owes what the last one did, once."""
    debts = Watch().debts
    debts.note(ANN, 1003.0)
    assert debts.take_over(BOB) == 0.0
    assert debts.take_over(ANN) == 1003.0
    assert debts.take_over(ANN) == 0.0


def test_the_larger_debt_counts() -> None:
    """Of two sockets of a user that close one after the other, the one that owes more counts."""
    debts = Watch().debts
    for paid_at in (1003.0, 1001.0):
        debts.note(ANN, paid_at)
    assert debts.take_over(ANN) == 1003.0


def test_nothing_is_remembered_of_who_owes_nothing() -> None:
    """A debt is forgotten once it is paid, and none is noted of a user who has paid."""
    watch = Watch()
    watch.debts.note(ANN, 1000.0)
    assert len(watch.debts) == 0
    watch.debts.note(ANN, 1001.0)
    watch.time = 1001.0
    watch.debts.evict_expired()
    assert len(watch.debts) == 0


def test_bounded() -> None:
    """The table has a bound: whoever owes least is forgotten first."""
    debts = Watch().debts
    for user, paid_at in ((ANN, 1002.0), (BOB, 1001.0), (CID, 1003.0)):
        debts.note(user, paid_at)
    assert len(debts) == 2
    assert debts.take_over(BOB) == 0.0
    assert debts.take_over(CID) == 1003.0
