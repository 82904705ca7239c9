"""CLIPs of every form with PETs on either tower, and what must stay as it was."""

from __future__ import annotations

import torch
from clips import NAMES, TEXT, pictures, small_clip
from open_clip import CustomTextCLIP, SimpleTokenizer

from avl_pegp.backbones.clip import CLIPClassifier
from avl_pegp.pet import Adapter, Context, LinearAdapter, LoRA, Prefix, Prompt, trainable_tensors

ALL = ("qkv", "proj", "fc1", "fc2")
TRUNK = {"timm_model_name": "test_vit", "image_size": 32, "timm_pool": "", "timm_proj": "linear"}
SILENT = {
    "lora": (LoRA(3, targets=ALL),),
    "lora on keys and values": (LoRA(3, targets=("k", "v")),),
    "adapter": (Adapter(4),),
    "adapter beside attention": (Adapter(4, parallel_to="attention", blocks=[0]),),
    "linear adapter": (LinearAdapter(4),),
    "text lora": (LoRA(3, targets=ALL, tower="text"),),
    "text adapter": (Adapter(4, tower="text", blocks=[0]),),
    "text adapter beside attention": (Adapter(4, parallel_to="attention", tower="text"),),
    "text linear adapter": (LinearAdapter(4, tower="text"),),
    "context": (Context(4),),  # as long as the template's words
}
SILENT["all that is silent"] = (
    *SILENT["lora"],
    *SILENT["adapter"],
    *SILENT["linear adapter"],
    *SILENT["text lora"],
    *SILENT["text adapter beside attention"],
    *SILENT["context"],
    *SILENT["text linear adapter"],
)
LOUD = {
    "prefix": (Prefix(3),),
    "prompt": (Prompt(3),),
    "input prompt, linear adapter": (Prompt(3, deep=False), LinearAdapter(4)),
    "input prompt in one block": (Prompt(3, deep=False, blocks=[1]),),
    "text prefix and prompt": (Prefix(3, tower="text"), Prompt(2, tower="text")),
    "shorter context": (Context(2),),
    "longer context": (Context(6),),
}
PETS = {**SILENT, **LOUD, "everything": (*SILENT["all that is silent"], Prefix(2), Prompt(2))}
IMAGES = pictures(2, seed=0)


def of_timm():
    """A CLIP whose image tower is timm's."""
    torch.manual_seed(0)
    clip = CustomTextCLIP(40, TRUNK, TEXT).double()
    clip.visual.set_input_size((32, 32))
    clip.visual.image_mean = clip.visual.image_std = (0.5, 0.5, 0.5)
    tokenizer = SimpleTokenizer(context_length=TEXT["context_length"])
    return CLIPClassifier(clip, tokenizer, NAMES, "a photo of a {}.").eval()


FORMS = {
    "CLIP": small_clip,
    "CustomTextCLIP": lambda: small_clip(custom_text=True),
    "timm": of_timm,
}


def stirred(model):
    """The model with every trainable tensor moved off where it began."""
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in trainable_tensors(model).values():
            tensor.add_(0.1 * torch.randn_like(tensor))
    return model


@torch.no_grad()
def answers(model):
    texts = model.encode_text(("a red key", "an old fox on a very long road"))
    return model(IMAGES), model.encode_image(IMAGES), texts


def state(model):
    """The very modules and tensors, what they hold, and their modes."""
    return (
        {name: (id(m), m.training) for name, m in model.named_modules()},
        {name: (id(p), p.requires_grad) for name, p in model.named_parameters()},
        {name: t.clone() for name, t in model.state_dict().items()},
    )


def assert_same_state(new, old):
    assert new[:2] == old[:2]
    torch.testing.assert_close(new[2], old[2], rtol=0, atol=0)


def equal(new, old):
    return all(torch.equal(a, b) for a, b in zip(new, old, strict=True))
