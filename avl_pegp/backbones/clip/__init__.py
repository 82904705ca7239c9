"""CLIP as a classifier whose classes are names. Needs open_clip only where a model is built."""

from avl_pegp.backbones.clip.model import CLIPClassifier
from avl_pegp.backbones.clip.prompts import prompt_names
from avl_pegp.backbones.clip.tokens import distinct_texts, listed_texts

__all__ = ["CLIPClassifier", "distinct_texts", "listed_texts", "prompt_names"]
