"""RFC 3339 with seconds, as metav1.Time, to and from aware datetimes."""

from datetime import UTC, datetime


def parse_time(text: str | None) -> datetime | None:
    """The moment that `text` names; None when it is absent."""
    return None if not text else datetime.fromisoformat(text)


def format_time(moment: datetime) -> str:
    """The moment in UTC with whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_since(text: str | None, now: datetime) -> float:
    """Seconds from the moment in `text` to `now`; 0 when it is absent."""
    moment = parse_time(text)
    return 0.0 if moment is None else (now - moment).total_seconds()
