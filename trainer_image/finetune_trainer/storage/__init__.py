"""Objects at `s3://BUCKET/KEY` and `file:///PATH` addresses behind one protocol.

`open_store` gives the one `Store` of a run; it looks at the scheme of each address.
"""

from finetune_trainer.storage.routing import open_store
from finetune_trainer.storage.store import ObjectInfo, PreconditionFailed, Store

__all__ = ["ObjectInfo", "PreconditionFailed", "Store", "open_store"]
