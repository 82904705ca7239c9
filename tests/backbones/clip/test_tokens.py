"""Texts as token numbers: none is cut, whosever tokenizer it is."""

from __future__ import annotations

import pytest
import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from avl_pegp.backbones.clip.tokens import tokenise

LETTERS = "a b c d e f g".split()
END = 2


@pytest.fixture(scope="module")
def of_transformers(tmp_path_factory):
    """open_clip's tokenizer around one of transformers, as SigLIP has it: it cleans, and ends a text."""
    numbers = {word: i for i, word in enumerate(["<pad>", "<unk>", "</s>", *LETTERS])}
    words = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", END)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", eos_token="</s>"
    )
    folder = tmp_path_factory.mktemp("tokenizer")
    fast.save_pretrained(folder)
    return HFTokenizer(str(folder), context_length=8, clean="canonicalize")


def test_open_clips_own_tokenizer_cuts_nothing():
    tokenizer = SimpleTokenizer(context_length=8)
    assert tokenise(tokenizer, ["a b c d e f"], 8)[0, 7] == tokenizer.eot_token_id
    message = (
        "'a b c d e f g' has 9 tokens with its start and end: must have at most 8 tokens; shorten"
    )
    with pytest.raises(ValueError, match=message):
        tokenise(tokenizer, ["fine", "a b c d e f g"], 8)


def test_one_around_a_tokenizer_of_transformers_cuts_nothing(of_transformers):
    assert tokenise(of_transformers, ["A b, c. d e f g!"], 8)[0].tolist() == [*range(3, 10), END]
    with pytest.raises(ValueError, match="'a a b c d e f g' has 9 tokens .* at most 8"):
        tokenise(of_transformers, ["a", "a a b c d e f g"], 8)


def test_a_tokenizer_that_counts_nothing_is_taken_at_its_word():
    tokens = tokenise(lambda texts: torch.ones(len(texts), 4).long(), ["a long text"] * 2, 4)
    assert tokens.shape == (2, 4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[1, 2]], "gave list, no tensor: must give int64"),
        (torch.ones(1, 4), r"gave Tensor, \(1, 4\) of torch.float32: must give int64 \(1, N\)"),
        (torch.ones(4).long(), r"gave Tensor, \(4,\) of torch.int64"),
    ],
)
def test_a_tokenizer_that_gives_something_else_is_refused(given, message):
    with pytest.raises(ValueError, match=f"the tokenizer {message}"):
        tokenise(lambda texts: given, ["fox"], 4)
