"""Options that all suites share: how much of the long tables to run."""

import random

import pytest

SAMPLE_SIZE = 3


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long",
        choices=("none", "sample", "all"),
        default="none",
        help="which cases of tests marked `long` to run: none, a seeded sample, or all",
    )
    parser.addoption("--seed", type=int, default=0, help="seed of the sample")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: one case of a table too long to run each time")


def pytest_report_header(config: pytest.Config) -> str:
    return f"long tables: {config.getoption('--long')}, seed {config.getoption('--seed')}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the cases of `long` tables that this run leaves out, table by table."""
    amount = config.getoption("--long")
    if amount == "all":
        return
    tables: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("long"):
            tables.setdefault(item.nodeid.partition("[")[0], []).append(item)
    chooser = random.Random(config.getoption("--seed"))
    left_out = []
    for _, cases in sorted(tables.items()):
        size = min(SAMPLE_SIZE, len(cases)) if amount == "sample" else 0
        chosen = set(map(id, chooser.sample(cases, size)))
        left_out += [case for case in cases if id(case) not in chosen]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        dropped = set(map(id, left_out))
        items[:] = [item for item in items if id(item) not in dropped]
