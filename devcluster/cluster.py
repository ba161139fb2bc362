"""The parts of the cluster, in the order in which they are started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devcluster import dns, kubeconfig, network, node, pki, s3, trainingoperator
from devcluster.client import Kubectl, accepts, answers
from devcluster.commands import succeeds
from devcluster.controlplane import ServerKeys, apiserver_command, etcd_command, make_keys
from devcluster.parts import Part
from devcluster.paths import Layout
from devcluster.trainingobjects import USER as TRAINING_USER
from devcluster.trainingobjects import WEBHOOK_PORT

API_PORT = 6443
ETCD_PORTS = (12379, 12380)
URL = f"https://{network.HOST}:{API_PORT}"
NAMES = (
    "etcd",
    "kube-apiserver",
    "containerd",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
    "versitygw",
    "training-operator",
)
LOCAL = "127.0.0.1"


@dataclass(frozen=True)
class Cluster:
    """Everything needed to start, ask and end the parts."""

    layout: Layout
    programs: dict[str, Path]
    keys: ServerKeys

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self.programs["kubectl"], self.layout.kubeconfig)

    def client(self, name: str, user: str, group: str = "") -> Path:
        """Kubeconfig of one part."""
        pair = pki.issue(self.layout.pki, self.keys.authority, name, user=user, group=group)
        return kubeconfig.write(
            self.layout.config / f"{name}.kubeconfig",
            server=URL,
            authority=self.keys.authority.certificate,
            client=pair,
        )


def describe(layout: Layout, programs: dict[str, Path]) -> Cluster:
    """Make keys and the administrator's kubeconfig where they are missing."""
    first_service = network.SERVICES.rpartition(".")[0] + ".1"
    keys = make_keys(layout.pki, [network.HOST, LOCAL, first_service])
    kubeconfig.write(
        layout.kubeconfig, server=URL, authority=keys.authority.certificate, client=keys.admin
    )
    return Cluster(layout, programs, keys)


def parts(cluster: Cluster) -> dict[str, Part]:
    """All parts by name; writes the configuration they read."""
    listed = [
        *_store(cluster),
        _containerd(cluster),
        *_controllers(cluster),
        _kubelet(cluster),
        _proxy(cluster),
        *_services(cluster),
    ]
    assert tuple(part.name for part in listed) == NAMES
    return {part.name: part for part in listed}


def _store(cluster: Cluster) -> list[Part]:
    layout, keys = cluster.layout, cluster.keys
    etcd = etcd_command(cluster.programs["etcd"], layout.home / "etcd", *ETCD_PORTS)
    server = apiserver_command(
        cluster.programs["kube-apiserver"],
        keys,
        address=network.HOST,
        port=API_PORT,
        etcd_port=ETCD_PORTS[0],
        services=network.SERVICES,
    )
    kubelet_access = (
        f"--kubelet-client-certificate={keys.admin.certificate}",
        f"--kubelet-client-key={keys.admin.key}",
        "--kubelet-preferred-address-types=InternalIP",
    )
    authority = keys.authority.certificate
    return [
        Part(
            "etcd",
            etcd,
            lambda: answers(f"http://{LOCAL}:{ETCD_PORTS[0]}/health"),
            ports=tuple((LOCAL, port) for port in ETCD_PORTS),
        ),
        Part(
            "kube-apiserver",
            [*server, "--authorization-mode=Node,RBAC", *kubelet_access],
            lambda: answers(f"{URL}/readyz", authority),
            ports=((network.HOST, API_PORT),),
            depends_on=(keys.server.certificate,),
        ),
    ]


def _controllers(cluster: Cluster) -> list[Part]:
    def controller(name: str, port: int, *arguments: str) -> Part:
        config = cluster.client(name, f"system:{name}")
        command = [
            str(cluster.programs[name]),
            f"--kubeconfig={config}",
            f"--bind-address={LOCAL}",
            f"--secure-port={port}",
            "--leader-elect=false",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            *arguments,
        ]
        url = f"https://{LOCAL}:{port}/healthz"
        return Part(name, command, lambda: answers(url), ((LOCAL, port),), depends_on=(config,))

    keys = cluster.keys
    return [
        controller(
            "kube-controller-manager",
            10257,
            f"--root-ca-file={keys.authority.certificate}",
            f"--service-account-private-key-file={keys.service_accounts.key}",
            "--use-service-account-credentials=true",
            f"--flex-volume-plugin-dir={cluster.layout.kubelet / 'volume-plugins'}",
        ),
        controller("kube-scheduler", 10259),
    ]


def _containerd(cluster: Cluster) -> Part:
    layout = cluster.layout
    config = node.write_containerd(layout)
    ask = ["ctr", f"--address={layout.containerd_socket}", "version"]
    command = ["containerd", f"--config={config}"]
    return Part("containerd", command, lambda: succeeds(ask, 5), depends_on=(config,))


def _kubelet(cluster: Cluster) -> Part:
    layout = cluster.layout
    config = node.write_kubelet(layout, cluster.keys.authority)
    client = cluster.client("kubelet", f"system:node:{node.NAME}", "system:nodes")
    command = [
        str(cluster.programs["kubelet"]),
        f"--config={config}",
        f"--kubeconfig={client}",
        f"--root-dir={layout.kubelet}",
        f"--hostname-override={node.NAME}",
        f"--node-ip={network.HOST}",
        f"--cert-dir={layout.kubelet / 'pki'}",
    ]
    return Part(
        "kubelet",
        command,
        lambda: answers(f"http://{LOCAL}:10248/healthz"),
        ports=((network.HOST, 10250), (LOCAL, 10248)),
        depends_on=(config, client),
    )


def _proxy(cluster: Cluster) -> Part:
    client = cluster.client("kube-proxy", "system:kube-proxy")
    config = node.write_proxy(cluster.layout, client)
    return Part(
        "kube-proxy",
        [str(cluster.programs["kube-proxy"]), f"--config={config}"],
        lambda: answers(f"http://{LOCAL}:10256/healthz"),
        ports=((LOCAL, 10256), (LOCAL, 10249)),
        depends_on=(config, client),
    )


def _services(cluster: Cluster) -> list[Part]:
    layout, programs = cluster.layout, cluster.programs
    corefile = dns.write_corefile(layout, cluster.client("coredns", "system:kube-dns"))
    trainingoperator.prepare(layout)
    training = cluster.client("training-operator", TRAINING_USER)
    health = f"http://{LOCAL}:{trainingoperator.HEALTH_PORT}/readyz"
    return [
        Part(
            "coredns",
            [str(programs["coredns"]), f"-conf={corefile}", "-quiet"],
            dns.resolves,
            ports=((network.HOST, 53),),
            depends_on=(corefile,),
        ),
        Part(
            "versitygw",
            s3.command(programs["versitygw"], layout),
            lambda: accepts(network.HOST, s3.PORT) and answers(f"{s3.ENDPOINT}/health"),
            ports=((network.HOST, s3.PORT),),
            environment=s3.environment(layout),
        ),
        Part(
            "training-operator",
            trainingoperator.command(programs["training-operator"], layout, training),
            lambda: answers(health),
            ports=((network.HOST, WEBHOOK_PORT), (LOCAL, trainingoperator.HEALTH_PORT)),
            environment=trainingoperator.environment(),
            depends_on=(training, *trainingoperator.inputs(layout)),
        ),
    ]


def dns_rights() -> list[dict[str, object]]:
    """What CoreDNS may read; the API server has no role of that kind built in."""
    group = "rbac.authorization.k8s.io"
    name = {"name": "finetune-devcluster:dns"}
    rules = [
        {
            "apiGroups": [""],
            "resources": ["services", "pods", "namespaces"],
            "verbs": ["list", "watch"],
        },
        {
            "apiGroups": ["discovery.k8s.io"],
            "resources": ["endpointslices"],
            "verbs": ["list", "watch"],
        },
    ]
    return [
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": name, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": name,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", **name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "system:kube-dns"}],
        },
    ]
