"""Every reason that a condition, an attempt or a termination message may carry, with its remedy."""

from enum import StrEnum


class Reason(StrEnum):
    """CamelCase reasons as Kubernetes conditions want them."""

    # the specification
    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    OPERATOR_OUTDATED = "OperatorOutdated"
    OUTPUT_TAKEN = "OutputTaken"
    # jobs that this one starts from
    WAITING_FOR_PARENT = "WaitingForParent"
    PARENT_FAILED = "ParentFailed"
    PARENT_CYCLE = "ParentCycle"
    # data and model, found on CPUs
    PREPARING = "Preparing"
    DATA_READY = "DataReady"
    DATA_PREPARED = "DataPrepared"
    BASELINE_MEASURED = "BaselineMeasured"
    INVALID_DATA = "InvalidData"
    MODEL_INVALID = "ModelInvalid"
    # storage
    STORAGE_DENIED = "StorageDenied"
    STORAGE_NOT_FOUND = "StorageNotFound"
    STORAGE_UNAVAILABLE = "StorageUnavailable"
    CREDENTIALS_MISSING = "CredentialsMissing"
    # waiting
    WAITING_FOR_PODS = "WaitingForPods"
    WAITING_FOR_QUOTA = "WaitingForQuota"
    START_DEADLINE_EXCEEDED = "StartDeadlineExceeded"
    BACKEND_UNAVAILABLE = "BackendUnavailable"
    POD_REJECTED = "PodRejected"
    # running
    LAUNCHED = "Launched"
    RESTARTING = "Restarting"
    STOPPING = "Stopping"
    # ends of an incarnation
    OUT_OF_MEMORY = "OutOfMemory"
    INTERRUPTED = "Interrupted"
    POD_LOST = "PodLost"
    PEER_LOST = "PeerLost"
    HANG = "Hang"
    DIVERGED = "Diverged"
    INTERNAL_ERROR = "InternalError"
    # ends of a job
    PUBLISHED = "Published"
    ALREADY_PUBLISHED = "AlreadyPublished"
    RESTARTS_EXHAUSTED = "RestartsExhausted"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    # by the user's wish
    SUSPENDED = "Suspended"
    NOT_SUSPENDED = "NotSuspended"


REMEDIES: dict[Reason, str] = {
    Reason.ACCEPTED: "Nothing to do.",
    Reason.INVALID_SPEC: (
        "Change the field that the message names, delete the job with kubectl delete, and apply it "
        "again."
    ),
    Reason.OPERATOR_OUTDATED: (
        "The CRD is newer than the operator: wait until the chart's upgrade is through, or upgrade "
        "the operator."
    ),
    Reason.OUTPUT_TAKEN: (
        "Another recipe is published under this namespace and name: choose another name or "
        "output.uri, or set output.onExisting to Replace."
    ),
    Reason.WAITING_FOR_PARENT: (
        "Nothing to do once the FineTuneJob that the message names is there: this job goes on when "
        "that one is complete."
    ),
    Reason.PARENT_FAILED: (
        "Mend the FineTuneJob that the message names, delete it and apply it again under the same "
        "name: this job waits for it."
    ),
    Reason.PARENT_CYCLE: (
        "Jobs wait for each other in a circle: let one of them start from model.uri, delete them "
        "with kubectl delete, and apply them again."
    ),
    Reason.PREPARING: "The data is being checked on CPUs.",
    Reason.DATA_READY: "Nothing to do.",
    Reason.DATA_PREPARED: (
        "The job ends here, as spec.stopAfter asks. Read the report at status.data.reportURI; a "
        "job without stopAfter, with the same data and model, finds the data ready."
    ),
    Reason.BASELINE_MEASURED: (
        "The job ends here, as spec.stopAfter asks. Read what the untouched model can do in "
        "status.evaluation.before; a job without stopAfter, with the same data and model, finds "
        "the data ready."
    ),
    Reason.INVALID_DATA: (
        "Mend the rows named in status.data.firstErrors, delete the job with kubectl delete, and "
        "apply it again."
    ),
    Reason.MODEL_INVALID: (
        "Give model.uri a folder with config.json, a tokenizer and safetensors weights."
    ),
    Reason.STORAGE_DENIED: (
        "Check the keys in storage.credentialsSecretName and what they may read and write."
    ),
    Reason.STORAGE_NOT_FOUND: (
        "Check the address that the message names: bucket and key, or repository and revision."
    ),
    Reason.STORAGE_UNAVAILABLE: (
        "Check storage.endpoint (or the hub of an hf:// model) and that pods reach it; the "
        "operator tries again."
    ),
    Reason.CREDENTIALS_MISSING: (
        "Create the Secret that storage.credentialsSecretName names, with the keys "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and HF_TOKEN for a gated hf:// model), in "
        "the job's namespace."
    ),
    Reason.WAITING_FOR_PODS: (
        "The cluster has not started all pods yet; the message holds the scheduler's words."
    ),
    Reason.WAITING_FOR_QUOTA: "A queue holds the job until quota is free.",
    Reason.START_DEADLINE_EXCEEDED: (
        "Pods did not start in restarts.startDeadlineSeconds; ask for less, or free capacity. "
        "The operator tries again with backoff."
    ),
    Reason.BACKEND_UNAVAILABLE: (
        "Install the Kubeflow training-operator (PyTorchJob v1) and see that it runs; or make the "
        "job anew with workers.nodes: 1, which the chart's values backend: Auto and Job run as a "
        "batch/v1 Job."
    ),
    Reason.POD_REJECTED: "The cluster refuses the pods for the cause in the message; change it.",
    Reason.LAUNCHED: "Nothing to do: training runs.",
    Reason.RESTARTING: "Nothing to do: a new set of pods goes on from the last checkpoint.",
    Reason.STOPPING: "Nothing to do: pods are saving a checkpoint and ending.",
    Reason.OUT_OF_MEMORY: (
        "Of an accelerator: lower training.microBatchTokens or training.sequenceLength, or set "
        "training.gradientCheckpointing to true. Of the pod: raise workers.resources.limits.memory "
        "(of a preparation preparation.resources.limits.memory)."
    ),
    Reason.INTERRUPTED: "Nothing to do: a checkpoint was saved and the run goes on.",
    Reason.POD_LOST: "Nothing to do: a pod was deleted, evicted or its node lost; the run goes on.",
    Reason.PEER_LOST: "See the log of the pod that ended first; the run goes on.",
    Reason.HANG: (
        "Nothing was finished in restarts.stepDeadlineSeconds: look for a slow or broken node or "
        "network; where a step of this size takes so long, raise the deadline. The run goes on "
        "from the last checkpoint."
    ),
    Reason.DIVERGED: (
        "The loss was not finite for too many steps: lower training.learningRate, or look for "
        "broken rows."
    ),
    Reason.INTERNAL_ERROR: "Read the last log lines in status.attempts; report it if it returns.",
    Reason.PUBLISHED: "Load the adapter from status.output.uri.",
    Reason.ALREADY_PUBLISHED: (
        "The same recipe on the same data was published before: load it from status.output.uri."
    ),
    Reason.RESTARTS_EXHAUSTED: (
        "Counted attempts are used up: mend the cause of the last attempt, delete the job with "
        "kubectl delete, and apply it again: the same recipe under the same name goes on from the "
        "last checkpoint in S3."
    ),
    Reason.DEADLINE_EXCEEDED: "Raise activeDeadlineSeconds, or ask for less work.",
    Reason.SUSPENDED: "Set spec.suspend to false to go on from the last checkpoint.",
    Reason.NOT_SUSPENDED: "Nothing to do.",
}


def remedy(reason: Reason) -> str:
    """What a user does about `reason`."""
    return REMEDIES[reason]
