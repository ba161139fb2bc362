"""Where things lie under `output.uri`.

OUTPUT/NAMESPACE/NAME/manifest.json            the pointer, written last
OUTPUT/NAMESPACE/NAME/runs/UID8/ATTEMPT-ID/    one set of pods: checkpoints, stages, results, and
                                               what the pointer said when it moved here
OUTPUT/prepared/HASH/                          tokens, shared between jobs
OUTPUT/prepared-reference/KEY/                 log-probabilities under a reference model, shared
"""

from dataclasses import dataclass

from finetune_api.runfile import JobIdentity

MANIFEST = "manifest.json"
CHECKPOINT_MANIFEST = "checkpoint.json"


@dataclass(frozen=True)
class JobLayout:
    """Addresses of one job, all without a trailing slash."""

    root: str
    """OUTPUT/NAMESPACE/NAME."""
    prepared_root: str
    """OUTPUT/prepared."""
    uid8: str

    @classmethod
    def of(cls, output_uri: str, job: JobIdentity) -> "JobLayout":
        """Addresses of `job` under `output_uri`."""
        base = output_uri.rstrip("/")
        return cls(f"{base}/{job.namespace}/{job.name}", f"{base}/prepared", job.uid8())

    @property
    def manifest(self) -> str:
        """The pointer to what is published."""
        return f"{self.root}/{MANIFEST}"

    @property
    def runs(self) -> str:
        """Folder of all runs under this namespace and name, of any UID."""
        return f"{self.root}/runs"

    @property
    def own_runs(self) -> str:
        """Folder of the runs of this UID."""
        return f"{self.runs}/{self.uid8}"

    @property
    def start(self) -> str:
        """What the preparation found at the start model's address."""
        return f"{self.own_runs}/start.json"

    def run(self, attempt_id: str) -> "RunLayout":
        """Folder of one set of pods; rank 0 makes the id when it starts."""
        return RunLayout(f"{self.own_runs}/{attempt_id}")

    def prepared(self, data_hash: str) -> str:
        """Folder of prepared data."""
        return f"{self.prepared_root}/{data_hash[:32]}"

    def reference(self, key: str) -> str:
        """Folder of what a reference model says of prepared data, shared between jobs."""
        return f"{self.prepared_root}-reference/{key[:32]}"

    def data_report(self) -> str:
        """Report of a preparation that failed, which has no data hash."""
        return f"{self.own_runs}/data-report.json"


@dataclass(frozen=True)
class RunLayout:
    """Addresses of one set of pods."""

    root: str

    def checkpoint(self, step: int) -> str:
        """Folder of the checkpoint after `step` optimizer steps."""
        return f"{self.root}/checkpoints/step-{step:08d}"

    def stage_marker(self, stage: str) -> str:
        """Marker that `stage` is done, with its result."""
        return f"{self.root}/stages/{stage}.json"

    @property
    def adapter(self) -> str:
        """Folder of a published adapter."""
        return f"{self.root}/adapter"

    @property
    def model(self) -> str:
        """Folder of published full weights, or of the base with the adapter merged into it."""
        return f"{self.root}/model"

    @property
    def base(self) -> str:
        """Folder of the base that the start adapter was merged into."""
        return f"{self.root}/base"

    @property
    def report(self) -> str:
        """Folder of report, metrics and plots."""
        return f"{self.root}/report"
