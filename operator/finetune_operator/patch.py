"""The smallest merge patch between two documents (RFC 7396)."""

from finetune_operator.kinds import Document


def merge_patch(old: Document, new: Document) -> Document:
    """What turns `old` into `new`; empty when they are equal. Lists are replaced whole."""
    patch: Document = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif isinstance(value, dict) and isinstance(old[key], dict):
            nested = merge_patch(old[key], value)
            if nested:
                patch[key] = nested
        elif value != old[key]:
            patch[key] = value
    return patch
