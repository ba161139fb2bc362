"""Data as people bring it, prepared by a pod: documents in a folder, and what checks refuse."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.harness import Job, items, kubectl, wait_until
from tests.unit.trainer.ingest.support import make_docx, make_html, make_pdf, paragraph

TEXT = "The drum turns to the left until the lamp goes out and the lid can be opened. "
ADDRESS = "jane.doe@acme-handels.de"
PAGES = [[TEXT + TEXT.lower()] * 6, [f"Write to {ADDRESS} about it. {TEXT}"] * 5]


@pytest.fixture
def manuals(s3: Any, bucket: str) -> str:
    """A folder with a contract, a guide, a help page and compressed rows."""
    lines = "".join(json.dumps({"text": f"Row {n}: {TEXT * 6}"}) + "\n" for n in range(20))
    files = {
        "contract.pdf": make_pdf(PAGES, title="Contract"),
        "deep/guide.docx": make_docx(paragraph("Guide") + paragraph(TEXT * 20)),
        "deep/help.html": make_html(f"<p>{TEXT * 20}</p>").encode(),
        "rows.jsonl.gz": gzip.compress(lines.encode()),
    }
    for name, content in files.items():
        s3.put_object(Bucket=bucket, Key=f"manuals/{name}", Body=content)
    return f"s3://{bucket}/manuals/"


def read(s3: Any, uri: str) -> str:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return str(s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode())


def test_documents_are_prepared_by_a_pod_and_secrets_end_a_job(
    submit: Callable[..., Job], s3: Any, bucket: str, manuals: str
) -> None:
    spec = {
        "method": "CPT",
        "data": {"train": [{"uri": manuals}], "checks": {"personalData": "Redact"}},
        "stopAfter": "Data",
        "evaluation": {"enabled": False},
    }
    secret = {"instruction": "Which token?", "context": "", "response": "ghp_" + "aB3dE6gH9" * 4}
    s3.put_object(Bucket=bucket, Key="secret.jsonl", Body=json.dumps(secret).encode())

    first = submit("manuals", **spec)
    refused = submit("secret", data={"train": [{"uri": f"s3://{bucket}/secret.jsonl"}]})
    first.wait_phase("Complete", seconds=240)
    refused.wait_phase("Failed", seconds=240)

    status = first.status()
    assert first.condition("Complete")["reason"] == "DataPrepared"
    found = {each["check"]: (each["mode"], each["rows"]) for each in status["data"]["findings"]}
    assert found["personalData"] == ("Redact", 1)
    page = read(s3, status["data"]["reportURI"])
    assert "contract.pdf" in page
    assert ADDRESS not in page
    report = json.loads(read(s3, status["data"]["reportURI"].replace(".html", ".json")))
    assert report["rows"] == 23
    assert report["checks"][0]["first"][0]["file"] == f"{manuals}contract.pdf"

    assert refused.condition("Failed")["reason"] == "InvalidData"
    assert "secret.jsonl:1" in refused.condition("Failed")["message"]
    (error,) = refused.status()["data"]["firstErrors"]
    assert error["row"] == 1
    assert "aB3dE6gH9" not in json.dumps(refused.object())
    assert items("pytorchjobs", first.namespace) == []

    again = submit("manuals-again", **spec)
    again.wait_phase("Complete", seconds=240)
    assert again.status()["prepared"] == {
        **status["prepared"],
        "recipeHash": again.status()["prepared"]["recipeHash"],
    }
    wait_until("the log of the second preparation", lambda: said(again, "already prepared"), 30)


def said(job: Job, words: str) -> bool:
    (pod,) = job.pods("prepare")
    return words in kubectl("logs", "-n", job.namespace, pod["metadata"]["name"])
