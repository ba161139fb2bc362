"""Runs the ranks of this pod under torch's elastic agent."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from finetune_api.errors import InfrastructureError
from finetune_api.reasons import Reason
from torch.distributed.elastic.agent.server.api import WorkerSpec
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from finetune_trainer.launch.topology import Topology

RANK_MODULE = "finetune_trainer.stages.rank"
_RENDEZVOUS_SECONDS = 1800
_EXIT_BARRIER_SECONDS = 5
"""Pods end within moments of each other; longer waits only keep accelerators."""
_GRACE_MARGIN_SECONDS = 5
"""Left of the grace period for the launcher itself."""


@dataclass(frozen=True)
class AgentEnd:
    """How the agent ended."""

    asked_to_stop: bool
    exit_codes: dict[int, int] = field(default_factory=dict)
    """Rank -> exit code of those that failed."""


def run_agent(topology: Topology, run_file: Path, run_id: str, grace_seconds: int) -> AgentEnd:
    """Start the ranks and wait for their end. Raises InfrastructureError when pods do not meet."""
    agent = _make_agent(topology, run_file, run_id, grace_seconds)
    try:
        result = agent.run()
    except SignalException:
        return AgentEnd(asked_to_stop=True)
    except (RuntimeError, ConnectionError, TimeoutError) as error:
        raise InfrastructureError(
            Reason.PEER_LOST, f"the pods of this run did not meet: {error}"
        ) from error
    return AgentEnd(
        asked_to_stop=False,
        exit_codes={rank: failure.exitcode for rank, failure in result.failures.items()},
    )


def _make_agent(
    topology: Topology, run_file: Path, run_id: str, grace_seconds: int
) -> LocalElasticAgent:
    rendezvous = RendezvousParameters(
        backend="static",
        endpoint=f"{topology.master_address}:{topology.master_port}",
        run_id=run_id,
        min_nodes=topology.nodes,
        max_nodes=topology.nodes,
        rank=topology.node_rank,
        timeout=_RENDEZVOUS_SECONDS,
    )
    spec = WorkerSpec(
        role="trainer",
        local_world_size=topology.processes,
        entrypoint=sys.executable,
        args=("-m", RANK_MODULE, str(run_file)),
        rdzv_handler=get_rendezvous_handler(rendezvous),
        max_restarts=0,
        monitor_interval=0.1,
        master_addr=topology.master_address,
        master_port=topology.master_port,
    )
    return LocalElasticAgent(
        spec=spec,
        logs_specs=DefaultLogsSpecs(),
        exit_barrier_timeout=_EXIT_BARRIER_SECONDS,
        shutdown_timeout=max(1, grace_seconds - _GRACE_MARGIN_SECONDS),
    )
