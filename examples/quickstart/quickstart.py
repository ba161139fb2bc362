"""Runs the example on the dev cluster, from an empty bucket to a loadable adapter.

`make quickstart` brings up the cluster and its images, then calls this. Each step can be
repeated; what an earlier quickstart left in the bucket and namespace `demo` is replaced.
`quickstart.py install` only installs the chart.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import boto3
from botocore.config import Config

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = ROOT / "build" / "quickstart"
NAMESPACE = "demo"
JOB = "handbook-sft"
SYSTEM_NAMESPACE = "finetune-system"
RESULT_PREFIX = f"demo/{NAMESPACE}/{JOB}/"


def main() -> int:
    """Do every step; the exit code is that of the job."""
    os.environ.update(cluster_environment())
    if sys.argv[1:] == ["install"]:
        install_chart()
        return 0
    started = time.monotonic()
    say("Making a small base model with its own tokenizer")
    model = make_base_model()
    say("Putting model and rows into S3")
    fill_buckets(model)
    say("Installing the operator's chart")
    install_chart()
    say(f"Applying {JOB} in namespace {NAMESPACE}, which enforces Pod Security restricted")
    apply_job()
    code = run([sys.executable, "-m", "finetune_cli", "watch", JOB, "-n", NAMESPACE], check=False)
    say(f"Took {time.monotonic() - started:.0f} s")
    print_next_steps()
    return code


def say(text: str) -> None:
    """One line for a person, ahead of what a child process prints."""
    print(f"==> {text}", flush=True)


def cluster_environment() -> dict[str, str]:
    """Variables that lead kubectl, helm and boto3 to the dev cluster."""
    output = subprocess.run(
        [sys.executable, "-m", "devcluster", "env", "--json"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    environment: dict[str, str] = json.loads(output)
    return environment


def make_base_model() -> Path:
    """Folder of the base model; made once, since the script is deterministic."""
    folder = CACHE / "base"
    if not (folder / "config.json").exists():
        script = HERE / "make_base_model.py"
        run([sys.executable, str(script), "--output", str(folder)])
    return folder


def fill_buckets(model: Path) -> None:
    """Upload the base, the rows of all examples, and remove what an earlier quickstart left."""
    client = boto3.client(
        "s3",
        endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"],
        config=Config(s3={"addressing_style": "path"}),
    )
    existing = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for bucket in {"models", "data", "artifacts"} - existing:
        client.create_bucket(Bucket=bucket)
    for file in sorted(model.iterdir()):
        client.upload_file(str(file), "models", f"handbook-base/{file.name}")
    for file in sorted(HERE.parent.glob("*/data/*.jsonl")):
        client.upload_file(str(file), "data", file.name)
    for folder in sorted((HERE.parent / "data").glob("*/data")):
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            key = f"{folder.parent.name}/{file.relative_to(folder)}"
            client.upload_file(str(file), "data", key)
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket="artifacts", Prefix=RESULT_PREFIX
    )
    for page in pages:
        for item in page.get("Contents", []):
            client.delete_object(Bucket="artifacts", Key=item["Key"])


def install_chart() -> None:
    """Install or upgrade the operator with the images that `devcluster images` built."""
    run(
        [
            *("helm", "upgrade", "--install", "finetune-operator"),
            str(ROOT / "charts" / "finetune-operator"),
            *("--namespace", SYSTEM_NAMESPACE, "--create-namespace", "--wait", "--timeout", "5m"),
            *("--set", "replicas=1"),
            *("--set", "image.operator.repository=docker.io/finetune-operator/operator"),
            *("--set", "image.operator.tag=dev"),
            *("--set", "image.trainer.repository=docker.io/finetune-operator/trainer"),
            *("--set", "image.trainer.tag=dev"),
            # The tag stays when the code changes; this is what makes the pod a new one.
            *("--set-string", f"podAnnotations.finetune\\.dev/code={code_digest()}"),
        ],
        quiet=True,
    )


def code_digest() -> str:
    """Digest of the code that the operator's image is made from."""
    digest = hashlib.sha256()
    for folder in ("api", "operator"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def apply_job() -> None:
    """Namespace, credentials and the job itself, as a user's GitOps tool would apply them."""
    apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": NAMESPACE,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        }
    )
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s3-credentials", "namespace": NAMESPACE},
            "data": {key: base64.b64encode(os.environ[key].encode()).decode() for key in keys},
        }
    )
    run(
        ["kubectl", "delete", "finetunejob", JOB, "-n", NAMESPACE, "--ignore-not-found"],
        quiet=True,
    )
    run(["kubectl", "apply", "-n", NAMESPACE, "-f", str(HERE / "job.yaml")])


def apply(document: Mapping[str, object]) -> None:
    """`kubectl apply` of one document."""
    subprocess.run(
        ["kubectl", "apply", "-f", "-"],
        input=json.dumps(document),
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def run(command: list[str], *, check: bool = True, quiet: bool = False) -> int:
    """Run a command from the repository's root; `quiet` shows its output only on failure."""
    if not quiet:
        return subprocess.run(command, check=check, cwd=ROOT).returncode
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode and check:
        print(result.stdout + result.stderr, file=sys.stderr)
        result.check_returncode()
    return result.returncode


def print_next_steps() -> None:
    """Commands to look further."""
    print(
        f"""
Look further:
  eval "$(python3 -m devcluster env)" # kubectl, helm and S3 keys of the dev cluster
  kubectl -n {NAMESPACE} describe finetunejob {JOB}
  kubectl -n {NAMESPACE} get pods
  .venv/bin/finetune status {JOB} -n {NAMESPACE}
  python3 -m devcluster down # end the cluster; --purge removes its images too
"""
    )


if __name__ == "__main__":
    sys.exit(main())
