"""The model's tokenizer, without its chat template."""

from collections.abc import Sequence
from typing import Any

from finetune_api.errors import UserError
from finetune_api.reasons import Reason


class Vocabulary:
    """Text to tokens and back; one for a run."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer` is a fast Transformers tokenizer."""
        self._tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        # Settings that tokenizer.json may bring along would cut or pad rows without a word.
        self._backend.no_truncation()
        self._backend.no_padding()
        self.special_ids = frozenset(tokenizer.all_special_ids)
        self.special_texts: dict[int, str] = {
            token: str(added)
            for token, added in tokenizer.added_tokens_decoder.items()
            if added.special and added.content.strip()
        }
        """Those of a chat's turns too, which `special_ids` may lack."""
        self._literals = [token for token in tokenizer.all_special_tokens if token.strip()]

    @property
    def adds_bos(self) -> bool:
        """Whether the tokenizer itself begins a text with its begin-of-sequence token."""
        bos = self._tokenizer.bos_token_id
        return bos is not None and self.encode(["a"], special=True)[0].ids[:1] == [bos]

    @property
    def bos(self) -> str:
        """Text of the begin-of-sequence token, empty where the tokenizer itself adds none."""
        return str(self._tokenizer.bos_token) if self.adds_bos else ""

    def eos_of(self, things: str) -> int:
        """Id of the end-of-sequence token, with which `things` end.

        Raises UserError ModelInvalid where the tokenizer has none.
        """
        if self._tokenizer.eos_token_id is None:
            raise UserError(
                Reason.MODEL_INVALID,
                f"the tokenizer has no end-of-sequence token (eos_token), with which {things} end; "
                "name one in tokenizer_config.json",
                where="tokenizer",
            )
        return int(self._tokenizer.eos_token_id)

    def encode(self, texts: Sequence[str], *, special: bool) -> list[Any]:
        """Encodings (ids, offsets) of `texts`.

        Args:
            special: With the special tokens that the tokenizer itself puts around a text.
        """
        found: list[Any] = self._backend.encode_batch(texts, add_special_tokens=special)
        return found

    def encode_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of `texts`, with the special tokens that the tokenizer itself puts around a
        text; faster than `encode`, as no offsets are kept."""
        return [encoding.ids for encoding in self._backend.encode_batch_fast(texts)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids, special tokens included."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=False))

    def spells_special(self, text: str) -> bool:
        """Whether `text` spells a special token, which the model then reads as one."""
        return any(literal in text for literal in self._literals)
