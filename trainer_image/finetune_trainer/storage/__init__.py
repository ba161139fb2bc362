"""Objects at `s3://BUCKET/KEY` and `file:///PATH` addresses behind one protocol, and models
at `hf://ORG/NAME@REVISION`, which are read only.

`open_store` gives the one `Store` of a run; it looks at the scheme of each address.
"""

from finetune_trainer.storage.routing import open_store
from finetune_trainer.storage.store import Download, ObjectInfo, PreconditionFailed, Store, Watch

__all__ = ["Download", "ObjectInfo", "PreconditionFailed", "Store", "Watch", "open_store"]
