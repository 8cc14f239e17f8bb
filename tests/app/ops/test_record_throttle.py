"""What strangers can make the server log."""

import logging

from app.ops.logs import RecordThrottle


def test_one_line_a_second_of_each_place() -> None:
    """Of one place in uvicorn one record a second passes, which says how many did not; others pass as ever."""
    time = 1000.0
    throttle = RecordThrottle(lambda: time)

    def passing(name: str, line: int) -> list[str]:
        records = [logging.LogRecord(name, logging.ERROR, "x.py", line, "a %s", ("b",), None) for _ in range(5)]
        return [record.getMessage() for record in records if throttle.filter(record)]

    assert passing("uvicorn.error", 1) == ["a b"]
    assert passing("uvicorn.error", 2) == ["a b"]
    assert passing("plugin", 1) == ["a b"] * 5
    time += 1.0
    assert passing("uvicorn.error", 1) == ["a b (4 more suppressed)"]
