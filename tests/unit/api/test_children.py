"""The objects that a job owns."""

import json
from typing import Any

import pytest
from finetune_api.children import (
    ChildSettings,
    Owner,
    attempt_name,
    incarnation_name,
    prepare_job,
    prepare_name,
    pytorch_job,
    run_config_map,
    training_job,
)
from finetune_api.errors import UserError
from finetune_api.fields import quantity_value
from finetune_api.job import FineTuneJob
from finetune_api.resolve import resolve
from finetune_api.runfile import JobIdentity, RunFile
from finetune_api.spec import RESERVED_VARIABLES, Resources
from finetune_api.spec.model import MAX_NAME_LENGTH
from finetune_api.validate import Target, validate

from tests.unit.api.jobs import UID, document, job
from tests.unit.api.pod_security import violations

SETTINGS = ChildSettings(trainer_image="trainer@sha256:0", image_pull_policy="Never")
LONGEST = JobIdentity(namespace="n", name="a" * MAX_NAME_LENGTH, uid=UID)
RICH: dict[str, Any] = {
    "workers": {
        "nodes": 3,
        "processesPerNode": 2,
        "resources": {"limits": {"nvidia.com/gpu": "2"}},
    },
    "preparation": {"resources": {"requests": {"cpu": "2"}}},
    "storage": {"endpoint": "https://s3.example.com", "credentialsSecretName": "s3-credentials"},
    "podTemplate": {
        "env": [{"name": "NCCL_DEBUG", "value": "INFO"}],
        "labels": {"team": "a", "finetune.dev/job": "spoofed"},
        "annotations": {"note": "x"},
        "tolerations": [{"operator": "Exists"}],
        "nodeSelector": {"pool": "gpu"},
        "imagePullSecrets": [{"name": "pull"}],
        "serviceAccountName": "trainer",
        "sharedMemory": "2Gi",
        "topologySpread": [{"maxSkew": 1, "topologyKey": "zone"}],
        "runtimeClassName": "nvidia",
        "terminationGracePeriodSeconds": 60,
    },
}


def children(made: FineTuneJob) -> list[dict[str, Any]]:
    owner, spec = Owner.of(made), resolve(made.spec)
    run = RunFile(job=owner.identity, spec=spec)
    return [
        run_config_map(owner, prepare_name(owner.identity), run),
        prepare_job(owner, spec, SETTINGS),
        run_config_map(owner, attempt_name(owner.identity, 1), run),
        pytorch_job(owner, spec, SETTINGS, attempt=1, incarnation=4),
    ]


def pods(made: FineTuneJob) -> list[dict[str, Any]]:
    _, prepare, _, training = children(made)
    replicas = training["spec"]["pytorchReplicaSpecs"].values()
    return [prepare["spec"]["template"], *(replica["template"] for replica in replicas)]


def test_every_name_fits_with_what_controllers_append() -> None:
    assert len(prepare_name(LONGEST) + "-x7k2p") <= 63
    assert len(attempt_name(LONGEST, 999_999)) <= 253
    assert len(incarnation_name(LONGEST, 999) + "-worker-98") <= 63


def test_a_job_made_again_under_the_same_name_has_other_children() -> None:
    again = LONGEST.model_copy(update={"uid": "0" * 8 + UID[8:]})
    for name in (prepare_name, lambda j: attempt_name(j, 1), lambda j: incarnation_name(j, 1)):
        assert name(LONGEST) != name(again)


@pytest.mark.parametrize("spec", [{}, RICH], ids=["smallest", "rich"])
def test_pods_pass_pod_security_restricted(spec: dict[str, Any]) -> None:
    for pod in pods(job(**spec)):
        assert list(violations(pod["spec"])) == []
        assert pod["spec"]["automountServiceAccountToken"] is False
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("spec", [{}, RICH], ids=["smallest", "rich"])
def test_every_child_belongs_to_the_job(spec: dict[str, Any]) -> None:
    for child in children(job(**spec)):
        metadata = child["metadata"]
        assert metadata["namespace"] == "team-a"
        (owner,) = metadata["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("FineTuneJob", "support-sft", UID)
        assert owner["controller"] is True
        assert metadata["labels"]["finetune.dev/job-uid"] == UID


def test_keys_come_from_the_secret_and_stand_nowhere() -> None:
    for pod in pods(job(**RICH)):
        (container,) = pod["spec"]["containers"]
        env = {variable["name"]: variable for variable in container["env"]}
        for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            assert "value" not in env[key]
            assert env[key]["valueFrom"]["secretKeyRef"] == {"name": "s3-credentials", "key": key}
    for pod in pods(job()):
        assert "secret" not in json.dumps(pod).lower()


def variables(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["spec"]["containers"]
    return {variable["name"]: variable for variable in container["env"]}


def test_only_a_job_with_a_model_on_the_hub_reaches_it_and_gets_its_token() -> None:
    for pod in pods(job(**RICH)):
        assert variables(pod)["HF_HUB_OFFLINE"]["value"] == "1"
        assert "HF_TOKEN" not in variables(pod)
    for pod in pods(job(**RICH, model={"uri": "hf://org/model@abc"})):
        env = variables(pod)
        assert env["HF_HUB_OFFLINE"]["value"] == "0"
        assert env["HF_HUB_DISABLE_TELEMETRY"]["value"] == "1"
        assert env["HF_TOKEN"]["valueFrom"]["secretKeyRef"] == {
            "name": "s3-credentials",
            "key": "HF_TOKEN",
            "optional": True,
        }
    for pod in pods(job(model={"uri": "hf://org/model"})):
        assert "HF_TOKEN" not in variables(pod)


def test_a_job_that_starts_from_another_may_need_the_hub_for_that_ones_base() -> None:
    for pod in pods(job(**RICH, model={"fromJob": {"name": "base-cpt"}})):
        assert variables(pod)["HF_TOKEN"]["valueFrom"]["secretKeyRef"]["optional"] is True


def test_a_mirror_of_the_hub_is_named_in_the_pod_template() -> None:
    mirror = {"name": "HF_ENDPOINT", "value": "https://hub.example"}
    for pod in pods(job(model={"uri": "hf://org/model"}, podTemplate={"env": [mirror]})):
        assert variables(pod)["HF_ENDPOINT"] == mirror


@pytest.mark.parametrize("name", ["FINETUNE_WORK_DIR", "FINETUNE_ANY", *RESERVED_VARIABLES])
def test_a_literal_cannot_replace_what_the_operator_sets(name: str) -> None:
    made = document(podTemplate={"env": [{"name": name, "value": "x"}]})
    with pytest.raises(UserError, match="the operator sets this variable"):
        validate(made, Target.CLUSTER)


def test_every_variable_that_is_set_is_reserved_and_set_once() -> None:
    for pod in pods(job(**RICH, model={"uri": "hf://org/model"})):
        (container,) = pod["spec"]["containers"]
        names = [variable["name"] for variable in container["env"]]
        assert len(names) == len(set(names))
        ours = {name for name in names if not name.startswith("FINETUNE_")} - {"NCCL_DEBUG"}
        assert ours == set(RESERVED_VARIABLES)


def test_the_pod_template_reaches_every_pod() -> None:
    template = RICH["podTemplate"]
    for pod in pods(job(**RICH)):
        spec, labels = pod["spec"], pod["metadata"]["labels"]
        for name in ("tolerations", "nodeSelector", "imagePullSecrets", "serviceAccountName"):
            assert spec[name] == template[name]
        assert spec["topologySpreadConstraints"] == template["topologySpread"]
        assert spec["runtimeClassName"] == "nvidia"
        assert spec["terminationGracePeriodSeconds"] == 60
        assert pod["metadata"]["annotations"] == {"note": "x"}
        assert labels["team"] == "a"
        assert labels["finetune.dev/job"] == "support-sft", "labels of ours cannot be spoofed"
        memory = next(v for v in spec["volumes"] if v["name"] == "shm")
        assert memory["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}


def test_workers_make_one_master_and_the_rest() -> None:
    *_, training = children(job(**RICH))
    spec = training["spec"]
    counts = {role: part["replicas"] for role, part in spec["pytorchReplicaSpecs"].items()}
    assert counts == {"Master": 1, "Worker": 2}
    assert spec["nprocPerNode"] == "2"
    assert spec["runPolicy"] == {"cleanPodPolicy": "Running"}
    for part in spec["pytorchReplicaSpecs"].values():
        (container,) = part["template"]["spec"]["containers"]
        assert part["restartPolicy"] == "Never"
        assert container["name"] == "pytorch"
        assert container["resources"] == {"limits": {"nvidia.com/gpu": "2"}}
        assert (container["image"], container["imagePullPolicy"]) == ("trainer@sha256:0", "Never")
    *_, alone = children(job())
    assert list(alone["spec"]["pytorchReplicaSpecs"]) == ["Master"]


def test_a_batch_job_runs_the_masters_pod_and_no_second_one() -> None:
    made = job(priorityClassName="high")
    owner, spec = Owner.of(made), resolve(made.spec)
    alone = training_job(owner, spec, SETTINGS, attempt=2, incarnation=5)
    master = pytorch_job(owner, spec, SETTINGS, attempt=2, incarnation=5)
    template = alone["spec"]["template"]
    assert template["spec"].pop("restartPolicy") == "Never"
    assert template == master["spec"]["pytorchReplicaSpecs"]["Master"]["template"]
    assert alone["metadata"] == master["metadata"]
    assert (alone["spec"]["backoffLimit"], alone["spec"]["podReplacementPolicy"]) == (0, "Failed")
    assert "podFailurePolicy" not in alone["spec"]
    for pod in (template, *pods(made)):
        assert pod["spec"]["priorityClassName"] == "high"


@pytest.mark.parametrize(
    ("scratch", "source"),
    [
        (None, {"emptyDir": {}}),
        ({"size": "200Gi"}, {"emptyDir": {"sizeLimit": "200Gi"}}),
        (
            {"size": "200Gi", "storageClassName": "fast"},
            {
                "ephemeral": {
                    "volumeClaimTemplate": {
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "storageClassName": "fast",
                            "resources": {"requests": {"storage": "200Gi"}},
                        }
                    }
                }
            },
        ),
    ],
    ids=["node", "limit", "claim"],
)
def test_the_work_folder_lies_where_scratch_says(scratch: Any, source: dict[str, Any]) -> None:
    for pod in pods(job(podTemplate={"scratch": scratch} if scratch else {})):
        assert list(violations(pod["spec"])) == []
        (work,) = [v for v in pod["spec"]["volumes"] if v["name"] == "work"]
        assert work == {"name": "work", **source}
        (container,) = pod["spec"]["containers"]
        assert {"name": "work", "mountPath": "/work"} in container["volumeMounts"]


def test_resources_of_any_name_go_to_the_pod_as_they_stand() -> None:
    limits = {"amd.com/gpu": "8", "rdma/hca": "1", "hugepages-2Mi": "1Gi"}
    made = job(workers={"resources": {"limits": limits}})
    (container,) = pods(made)[1]["spec"]["containers"]
    assert container["resources"] == {"limits": limits}


def test_preparation_fails_at_once_on_the_users_mistake_and_ignores_disruption() -> None:
    _, prepare, _, _ = children(job())
    mistake, disruption = prepare["spec"]["podFailurePolicy"]["rules"]
    assert mistake["action"] == "FailJob"
    assert mistake["onExitCodes"]["values"] == [64]
    assert disruption["action"] == "Ignore"
    assert prepare["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_queue_labels_reach_the_child_that_they_are_meant_for() -> None:
    made = document()
    made["metadata"]["labels"] = {
        "kueue.x-k8s.io/queue-name": "gpus",
        "finetune.dev/prepare-queue-name": "cpus",
    }
    _, prepare, _, training = children(validate(made, Target.CLUSTER))
    assert prepare["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "cpus"
    assert training["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    for child in children(job()):
        assert "kueue.x-k8s.io/queue-name" not in child["metadata"]["labels"]


def test_the_run_file_is_read_back_as_it_was(tmp_path: Any) -> None:
    config_map, *_ = children(job(**RICH))
    file = tmp_path / "run.json"
    file.write_text(config_map["data"]["run.json"])
    assert RunFile.load(file).spec == resolve(job(**RICH).spec)
    assert config_map["immutable"] is True


@pytest.mark.parametrize(
    ("quantity", "value"),
    [("500m", "0.5"), ("1Ki", "1024"), ("2G", "2000000000"), ("8", "8"), ("1e3", "1000"),
     ("1.5Gi", "1610612736"), ("1E", "1000000000000000000")],
)  # fmt: skip
def test_quantities_mean_what_kubernetes_takes_them_for(quantity: str, value: str) -> None:
    assert str(quantity_value(quantity).normalize().__format__("f")) == value


def test_accelerators_of_any_vendor_are_counted_once() -> None:
    both = Resources(requests={"nvidia.com/gpu": "8"}, limits={"nvidia.com/gpu": "8", "cpu": "4"})
    assert both.accelerators() == 8
    assert Resources(limits={"amd.com/gpu": "2"}).accelerators() == 2
    assert Resources(limits={"nvidia.com/gpu.shared": "1", "rdma/hca": "2"}).accelerators() == 1
    for name in ("rdma/hca", "habana.ai/gaudi", "google.com/tpu", "cpu", "gpu"):
        assert Resources(limits={name: "2"}).accelerators() == 0
