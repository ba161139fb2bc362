"""Where this pod stands among the pods of a run, from training-operator's variables."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from finetune_api.errors import InternalError
from finetune_api.reasons import Reason
from finetune_api.spec import Workers

from finetune_trainer.cpus import available_cpus


@dataclass(frozen=True)
class Topology:
    """The static rendezvous of one run."""

    nodes: int
    node_rank: int
    processes: int
    """Ranks of this pod."""
    master_address: str
    master_port: int

    @classmethod
    def of(cls, workers: Workers, env: Mapping[str, str]) -> "Topology":
        """The topology that MASTER_ADDR, MASTER_PORT and PET_NODE_RANK or RANK tell.

        One pod needs no variables: it meets itself on a free port. Raises InternalError when a
        variable is missing or wrong.
        """
        processes = workers.processes_per_node
        if workers.nodes == 1:
            return cls(1, 0, processes, "127.0.0.1", _free_port())
        try:
            rank = int(env.get("PET_NODE_RANK") or env["RANK"])
            address, port = env["MASTER_ADDR"], int(env["MASTER_PORT"])
        except (KeyError, ValueError) as error:
            raise InternalError(
                Reason.INTERNAL_ERROR, f"the pod's rendezvous variables are not usable: {error}"
            ) from error
        if not 0 <= rank < workers.nodes:
            raise InternalError(
                Reason.INTERNAL_ERROR, f"node rank {rank} is not one of {workers.nodes} pods"
            )
        return cls(workers.nodes, rank, processes, address, port)


def threads_per_process(processes: int) -> int:
    """CPU threads of each rank: this pod's share of CPUs, at least one."""
    return max(1, available_cpus() // processes)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
