"""The chart gives the operator what it needs and nothing more."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from finetune_api.crd import crd
from finetune_api.job import FineTuneJob
from finetune_api.validate import Target, validate
from finetune_api.yamlfile import load_documents
from finetune_operator.backends.choice import SETTINGS

from tests.unit.api.pod_security import violations
from tests.unit.chart.helm import CHART, NAMESPACE, helm, of_kind, render, template

EVERYTHING = (
    "networkPolicy.enabled=true",
    "metrics.serviceMonitor.enabled=true",
    "extraEnv[0].name=HTTPS_PROXY",
    "extraEnv[0].value=http://proxy",
    "imagePullSecrets[0].name=pull",
    "podLabels.team=a",
)
VARIANTS = [(), EVERYTHING, ("watchNamespaces={team-a,team-b}",)]


def only(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = of_kind(documents, kind)
    return found


def operator_container(*values: str) -> dict[str, Any]:
    spec = only(render(*values), "Deployment")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert isinstance(container, dict)
    return container


def environment(*values: str) -> dict[str, Any]:
    return {
        v["name"]: v.get("value", v.get("valueFrom")) for v in operator_container(*values)["env"]
    }


def granted(documents: list[dict[str, Any]], *, users: bool = False) -> set[tuple[str, str]]:
    """(resource, verb) pairs that the operator's roles grant, or those of users."""
    roles = of_kind(documents, "Role") + of_kind(documents, "ClusterRole")
    return {
        (resource, verb)
        for role in roles
        if users == any("aggregate-to" in label for label in role["metadata"]["labels"])
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_helm_lint_finds_nothing() -> None:
    result = helm("lint", "--strict", str(CHART))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("values", VARIANTS, ids=["default", "everything", "namespaces"])
def test_the_operators_pods_pass_pod_security_restricted(values: tuple[str, ...]) -> None:
    spec = only(render(*values), "Deployment")["spec"]["template"]["spec"]
    assert list(violations(spec)) == []
    (container,) = spec["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"/tmp"}


@pytest.mark.parametrize("values", VARIANTS, ids=["default", "everything", "namespaces"])
def test_rights_are_the_least_that_work(values: tuple[str, ...]) -> None:
    children = {
        (resource, verb)
        for resource in ("jobs", "pytorchjobs")
        for verb in ("get", "list", "watch", "create", "delete")
    }
    assert granted(render(*values)) == children | {
        *(("finetunejobs", verb) for verb in ("get", "list", "watch")),
        *(("finetunejobs/status", verb) for verb in ("get", "patch", "update")),
        ("finetunejobs/finalizers", "update"),
        *(("pods", verb) for verb in ("get", "list", "watch")),
        *(("configmaps", verb) for verb in ("get", "create", "delete")),
        *(("events", verb) for verb in ("create", "patch")),
        *(("leases", verb) for verb in ("get", "create", "update")),
    }


@pytest.mark.parametrize("values", VARIANTS, ids=["default", "everything", "namespaces"])
def test_no_role_grants_secrets_or_everything(values: tuple[str, ...]) -> None:
    documents = render(*values)
    pairs = granted(documents) | granted(documents, users=True)
    words = {word for pair in pairs for word in pair}
    dangerous = {"*", "secrets", "escalate", "bind", "impersonate", "pods/exec", "nodes"}
    assert words & dangerous == set()


def test_leases_are_granted_in_the_own_namespace_only() -> None:
    roles = of_kind(render(), "Role") + of_kind(render(), "ClusterRole")
    holders = [r for r in roles if any("leases" in rule["resources"] for rule in r["rules"])]
    assert [(r["kind"], r["metadata"]["namespace"]) for r in holders] == [("Role", NAMESPACE)]


def test_watched_namespaces_get_roles_and_the_cluster_none() -> None:
    documents = render("watchNamespaces={team-a,team-b}")
    assert of_kind(documents, "ClusterRoleBinding") == []
    namespaces = {role["metadata"]["namespace"] for role in of_kind(documents, "RoleBinding")}
    assert namespaces == {"team-a", "team-b", NAMESPACE}
    assert environment("watchNamespaces={team-a,team-b}")["FINETUNE_NAMESPACES"] == "team-a,team-b"


def test_bindings_lead_to_roles_and_the_account_that_exist() -> None:
    for values in VARIANTS:
        documents = render(*values)
        account = only(documents, "ServiceAccount")["metadata"]["name"]
        roles = {d["metadata"]["name"] for d in documents if d["kind"].endswith("Role")}
        bindings = [d for d in documents if d["kind"].endswith("RoleBinding")]
        assert bindings
        for binding in bindings:
            assert binding["roleRef"]["name"] in roles
            (subject,) = binding["subjects"]
            assert (subject["name"], subject["namespace"]) == (account, NAMESPACE)
        pod = only(documents, "Deployment")["spec"]["template"]["spec"]
        assert pod["serviceAccountName"] == account


def test_users_roles_extend_edit_and_view_unless_switched_off() -> None:
    users = granted(render(), users=True)
    assert {("finetunejobs", "create"), ("finetunejobs", "list")} <= users
    assert granted(render("rbac.aggregateToUserRoles=false"), users=True) == set()


def test_images_go_by_digest_when_one_is_given() -> None:
    digest = "sha256:" + "a" * 64
    values = (
        "image.operator.repository=example.com/op",
        f"image.operator.digest={digest}",
        "image.operator.tag=ignored",
        "image.trainer.repository=example.com/tr",
        "image.trainer.tag=dev",
        "image.pullPolicy=Never",
    )
    container = operator_container(*values)
    assert container["image"] == f"example.com/op@{digest}"
    assert container["imagePullPolicy"] == "Never"
    env = environment(*values)
    assert env["FINETUNE_TRAINER_IMAGE"] == "example.com/tr:dev"
    assert env["FINETUNE_IMAGE_PULL_POLICY"] == "Never"
    assert operator_container()["image"] == "finetune-operator/operator:0.1.0"


def test_the_operator_learns_its_settings_from_the_environment() -> None:
    env = environment("resyncSeconds=60", "logLevel=DEBUG", *EVERYTHING)
    assert env["FINETUNE_RESYNC_SECONDS"] == "60"
    assert env["FINETUNE_LOG_LEVEL"] == "DEBUG"
    assert env["FINETUNE_NAMESPACES"] == ""
    assert env["FINETUNE_HEALTH_PORT"] == "8080"
    assert env["FINETUNE_BACKEND"] == "Auto"
    for setting in SETTINGS:
        assert environment(f"backend={setting}")["FINETUNE_BACKEND"] == setting
    assert env["POD_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert env["POD_NAMESPACE"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}
    assert env["HTTPS_PROXY"] == "http://proxy"


def test_probes_ask_the_health_port() -> None:
    container = operator_container()
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert container["ports"] == [{"name": "http", "containerPort": 8080}]


def test_two_replicas_stand_by_and_survive_a_drain() -> None:
    documents = render()
    assert only(documents, "Deployment")["spec"]["replicas"] == 2
    budget = only(documents, "PodDisruptionBudget")["spec"]
    selector = only(documents, "Deployment")["spec"]["selector"]
    assert (budget["maxUnavailable"], budget["selector"]) == (1, selector)
    assert of_kind(render("replicas=1"), "PodDisruptionBudget") == []


def test_optional_objects_are_off_by_default() -> None:
    kinds = {document["kind"] for document in render()}
    assert not kinds & {"NetworkPolicy", "ServiceMonitor"}
    assert {"NetworkPolicy", "ServiceMonitor"} <= {d["kind"] for d in render(*EVERYTHING)}


def test_the_crd_is_the_generated_one_and_is_kept() -> None:
    installed = only(render(), "CustomResourceDefinition")
    assert installed["spec"] == crd()["spec"]
    assert installed["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert (
        "annotations" not in only(render("crds.keep=false"), "CustomResourceDefinition")["metadata"]
    )
    assert of_kind(render("crds.enabled=false"), "CustomResourceDefinition") == []


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("replcas=1", "additional properties 'replcas' not allowed"),
        ("image.operator.tga=x", "additional properties 'tga' not allowed"),
        ("replicas=0", "minimum"),
        ("image.trainer.digest=latest", "does not match pattern"),
        ("image.pullPolicy=Sometimes", "one of 'Always', 'IfNotPresent', 'Never'"),
        ("watchNamespaces={Upper}", "does not match pattern"),
        ("backend=TrainJob", "one of 'Auto', 'PyTorchJob', 'Job'"),
    ],
)
def test_a_wrong_value_is_refused_by_name(value: str, told: str) -> None:
    result = template(f"--set={value}")
    assert result.returncode != 0
    assert told in result.stderr


def test_every_value_is_explained_and_in_the_schema() -> None:
    text = (CHART / "values.yaml").read_text()
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())["properties"]
    values = yaml.safe_load(text)
    assert set(values) == set(schema) - {"global"}


def test_an_old_kubernetes_is_refused() -> None:
    result = helm("template", "x", str(CHART), "--kube-version=1.28.0")
    assert "kubeVersion" in result.stderr


def notes(tmp_path: Path, *values: str) -> str:
    """NOTES.txt as helm prints it, through a ConfigMap, as `helm template` leaves it out."""
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "NOTES.txt").rename(chart / "files" / "NOTES.txt")
    (chart / "templates" / "notes.yaml").write_text(
        '{"kind": "Notes", "text": {{ tpl (.Files.Get "files/NOTES.txt") . | toJson }}}\n'
    )
    arguments = [f"--set={value}" for value in values]
    result = template("--show-only=templates/notes.yaml", *arguments, chart=chart)
    assert result.returncode == 0, result.stderr
    return str(yaml.safe_load(result.stdout)["text"])


def test_the_notes_name_the_objects_and_their_first_job_is_valid(tmp_path: Path) -> None:
    text = notes(tmp_path)
    name = only(render(), "Deployment")["metadata"]["name"]
    assert f"kubectl -n {NAMESPACE} rollout status deployment/{name}" in text
    lines = text.split("<<'EOF'\n")[1].split("EOF")[0].splitlines()
    (document,) = load_documents("\n".join(line[5:] for line in lines))
    job = validate(document, Target.CLUSTER)
    assert isinstance(job, FineTuneJob)
    assert f"finetune watch {job.metadata.name}" in text


def test_the_notes_name_the_served_namespaces(tmp_path: Path) -> None:
    assert "serves these namespaces: team-a, team-b" in notes(
        tmp_path, "watchNamespaces={team-a,team-b}"
    )
