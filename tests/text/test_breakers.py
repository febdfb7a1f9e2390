"""Which tokens hold a DRY breaker."""

from __future__ import annotations

from genfast.native_sampling import breaker_ids


class Words:
    """A tokenizer of whole pieces."""

    pieces = ("a", "\n", ".\n", " b:", ":", "x")
    vocab_size = len(pieces)

    def decode(self, ids, skip_special_tokens=True):
        return "".join(self.pieces[i] for i in ids)


def test_every_token_that_holds_a_breaker():
    words = Words()
    assert breaker_ids(["\n"], words) == [1, 2]
    assert breaker_ids([":", "\n", 5], words) == [1, 2, 3, 4, 5]
    assert breaker_ids(["nowhere"], words) == []
    assert breaker_ids(["\n", 4], None) == [4]
