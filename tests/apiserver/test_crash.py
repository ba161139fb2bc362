"""The operator dies at every named point and still brings the job to the same end."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from finetune_operator.crash import KILLED

from tests.apiserver.play import Cluster, eventually
from tests.unit.operator.builders import OUTPUT

Pair = tuple[Cluster, Cluster]

ON_THE_WAY = [
    "status-preparing",
    "create-prepare-configmap",
    "create-prepare",
    "status-prepared",
    "status-attempt",
    "create-configmap",
    "create-pytorchjob",
    "status-waiting",
    "status-running",
    "status-complete",
]


async def died(cluster: Cluster, point: str, **env: str) -> None:
    """Run the operator until it dies at `point`, then run it again."""
    process = cluster.start_operator(FINETUNE_CRASH_AT=point, **env)

    async def over() -> bool:
        return process.poll() is not None

    await eventually(over, f"a crash at {point}")
    assert process.returncode == KILLED
    cluster.start_operator(**env)


async def before_and_after(
    pair: Pair, what: str, scenario: Callable[[Cluster, str], Awaitable[None]]
) -> None:
    """The scenario with a crash just before, and in another namespace just after, a write."""
    before, after = pair
    await asyncio.gather(scenario(before, f"before-{what}"), scenario(after, f"after-{what}"))


@pytest.mark.parametrize("what", ON_THE_WAY)
async def test_a_crash_on_the_way_to_success_changes_nothing(pair: Pair, what: str) -> None:
    async def scenario(cluster: Cluster, point: str) -> None:
        cluster.finish_pods = True
        await cluster.apply()
        await died(cluster, point)
        status = await cluster.reaches("Complete")
        assert status["output"] == OUTPUT.to_wire()
        assert (status["attempt"], status["incarnation"]) == (1, 1)
        assert len(cluster.incarnations) == 1

    await before_and_after(pair, what, scenario)


@pytest.mark.parametrize("what", ["status-ended", "delete-pytorchjob"])
async def test_a_crash_while_restarting_changes_nothing(pair: Pair, what: str) -> None:
    async def scenario(cluster: Cluster, point: str) -> None:
        await cluster.apply()
        dying = asyncio.create_task(died(cluster, point))
        await cluster.reaches("Running")
        await cluster.end_pod(await cluster.master(), "Traceback: boom", 1)
        await dying
        status = await cluster.reaches("Running", incarnation=2)
        assert (status["attempt"], status["countedFailures"]) == (2, 1)
        assert [a["incarnation"] for a in status["attempts"]] == [1]
        await cluster.publish(2)
        await cluster.reaches("Complete")
        assert len(cluster.incarnations) == 2

    await before_and_after(pair, what, scenario)


@pytest.mark.parametrize("what", ["status-suspending", "delete-pytorchjob", "status-suspended"])
async def test_a_crash_while_suspending_changes_nothing(pair: Pair, what: str) -> None:
    async def scenario(cluster: Cluster, point: str) -> None:
        await cluster.apply()
        dying = asyncio.create_task(died(cluster, point))
        await cluster.reaches("Running")
        await cluster.suspend(True)
        await dying
        await cluster.reaches("Suspended")
        await cluster.suspend(False)
        status = await cluster.reaches("Running", incarnation=2)
        assert status["countedFailures"] == 0
        assert len(cluster.incarnations) == 2

    await before_and_after(pair, what, scenario)
