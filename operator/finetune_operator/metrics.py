"""Prometheus metrics of the operator."""

from collections import Counter as Tally

from finetune_api.status import Phase
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """All metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconcile_seconds = Histogram(
            "finetune_reconcile_seconds",
            "Duration of one reconciliation",
            registry=self.registry,
            buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self.reconcile_errors = Counter(
            "finetune_reconcile_errors", "Failed reconciliations", registry=self.registry
        )
        self.decisions = Counter(
            "finetune_decisions", "Decisions that led to a write", ["label"], registry=self.registry
        )
        self.status_writes = Counter(
            "finetune_status_writes", "Status patches sent", registry=self.registry
        )
        self.missed_events = Counter(
            "finetune_missed_events",
            "Differences that a full list found and healed",
            registry=self.registry,
        )
        self.queue_depth = Gauge(
            "finetune_queue_depth", "Jobs that wait for a worker", registry=self.registry
        )
        self.leader = Gauge("finetune_leader", "1 while this process leads", registry=self.registry)
        self.jobs = Gauge("finetune_jobs", "Jobs by phase", ["phase"], registry=self.registry)

    def count_jobs(self, phases: list[str]) -> None:
        """Set the number of jobs in each phase."""
        tally = Tally(phases)
        for phase in Phase:
            self.jobs.labels(phase=phase).set(tally[phase])
