"""storage and output."""

from tests.unit.fields.bench import FRESH
from tests.unit.fields.entry import Table, effect
from tests.unit.fields.observe.pods import preparation_pod, training_pods
from tests.unit.fields.observe.s3 import address, signed_region
from tests.unit.fields.observe.stages import (
    kept_checkpoints,
    places,
    prepares_over_another,
    published_weights,
    trains_over_another,
)

STORE = {"endpoint": "http://store.test:9000"}

STORAGE: Table = {
    "storage.endpoint": effect((None, "http://one.test", "https://one.test:9000"), address),
    "storage.region": effect(("eu-west-3", "us-west-2"), signed_region),
    "storage.credentialsSecretName": effect(("one", "two"), preparation_pod, training_pods),
    "storage.addressing": effect(("Path", "Virtual"), address, storage=STORE),
}
OUTPUT: Table = {
    "output.uri": effect((f"{FRESH}/one", f"{FRESH}/two"), places),
    "output.merged": effect((True, False), published_weights),
    "output.retain": effect(
        ("Adapter", "Checkpoints"), kept_checkpoints, checkpoints={"everySteps": 1}
    ),
    "output.onExisting": effect(("Refuse", "Replace"), prepares_over_another, trains_over_another),
}
