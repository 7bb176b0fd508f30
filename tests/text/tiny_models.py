"""Tiny language models with random weights and their tokenizers, written as transformers writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from pinxit.text.encoders import open_text_encoder
from pinxit.text.language_models import LanguageModel

transformers = pytest.importorskip("transformers")
WORDS = ("a", "the", "red", "blue", "cat", "dog", "on", "tree", "under", "and", "very", "small", "house", ",", ".")
TEXTS = (
    "a red cat",
    "",
    "the very small dog and the blue house on a tree",
    "Zebra, a dog.",
    "a cat and a dog and a cat and a dog and a cat and a dog and a cat",
)
SHAPE = {"num_hidden_layers": 2, "num_attention_heads": 4}
BERT = SHAPE | {"hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 64}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {  # model_type: model, config, what the config says
    "t5": (
        *("T5EncoderModel", "T5Config"),
        {"d_model": 32, "d_ff": 48, "d_kv": 8, "num_layers": 2, "num_heads": 4, "feed_forward_proj": "gated-gelu"},
    ),
    "deberta-v2": (
        *("DebertaV2Model", "DebertaV2Config"),
        BERT
        | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8, "share_att_key": True}
        | {"norm_rel_ebd": "layer_norm", "position_biased_input": False, "type_vocab_size": 0},
    ),
    "bert": ("BertModel", "BertConfig", BERT),
    "distilbert": ("DistilBertModel", "DistilBertConfig", {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4}),
    "mpnet": ("MPNetModel", "MPNetConfig", BERT),
    "roberta": ("RobertaModel", "RobertaConfig", BERT),
    "xlm-roberta": ("XLMRobertaModel", "XLMRobertaConfig", BERT),
}


def save_tiny(folder: Path, kind: str, **more: Any) -> Any:
    """Write a random model of the family `kind` and its tokenizer into `folder`; the model as transformers knows it."""
    model_class, config_class, told = MODELS[kind]
    tokenizer = save_tokenizer(folder, ends_only=kind == "t5")
    config = getattr(transformers, config_class)(
        **({"vocab_size": tokenizer.get_vocab_size(), "pad_token_id": 0} | told | more)
    )
    return save_random(folder, getattr(transformers, model_class), config)


def save_random(folder: Path, kind: Any, config: Any) -> Any:
    """A model of `kind` in which no weight hides behind its usual zero or one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.requires_grad_(False).save_pretrained(folder)
    return model


def save_tokenizer(folder: Path, ends_only: bool = False) -> Tokenizer:
    """Whole words, lower-cased, between <s> and </s>, or before an end alone as T5 wants it."""
    vocabulary = {word: number for number, word in enumerate(("<pad>", "</s>", "<s>", "<unk>", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), "removed", invert=True)
    template = "$A </s>" if ends_only else "<s> $A </s>"
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<s>", 2), ("</s>", 1)])
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    wrapped.save_pretrained(folder)
    return tokenizer


def opened_as(folder: Path, kind: str, **more: Any) -> LanguageModel:
    save_tiny(folder, kind)
    encoder = open_text_encoder(folder, **more)
    assert isinstance(encoder, LanguageModel)
    return encoder
