"""Models whose classifier is not told by ``get_classifier()``, or stands behind a wrapper."""

from __future__ import annotations

import peft
import timm
import torch
import torchvision
from avalanche.models import SimpleMLP, as_multitask
from models import small_vit
from torch import nn
from transformers import ViTConfig, ViTForImageClassification

from avl_pegp.pet import LoRA, attach

CLASSES = 6


class OwnHead(nn.Module):
    """A backbone with LoRA, and a layer ``fc`` behind it."""

    def __init__(self):
        super().__init__()
        self.backbone = small_vit(num_classes=0).requires_grad_(False)
        config = peft.LoraConfig(r=4, target_modules=["qkv"])
        peft.inject_adapter_in_model(config, self.backbone)
        self.fc = nn.Linear(64, CLASSES)

    def forward(self, x):
        return self.fc(self.backbone(x))


class LogProbabilities(OwnHead):
    """One whose output is no layer's."""

    def forward(self, x):
        return super().forward(x).log_softmax(-1)


class SecondHead(nn.Module):
    """One whose ``get_classifier()`` is not what gives the logits."""

    def __init__(self):
        super().__init__()
        self.vit = small_vit()
        attach(self.vit, LoRA(4))
        self.fc = nn.Linear(64, CLASSES)

    def get_classifier(self):
        return self.vit.head

    def forward(self, x):
        return self.fc(self.vit.forward_head(self.vit.forward_features(x), pre_logits=True))


class Normalised(nn.Module):
    """A plain module around a model."""

    def __init__(self, model):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.model = model

    def forward(self, x):
        return self.model(x - self.mean)


def torchvision_vit():
    model = torchvision.models.VisionTransformer(32, 16, 2, 2, 64, 128, num_classes=CLASSES)
    model.requires_grad_(False)
    nn.init.normal_(model.heads.head.weight, std=0.02)
    config = peft.LoraConfig(r=4, target_modules=["mlp.0", "mlp.3"])
    model = peft.inject_adapter_in_model(config, model)
    model.heads.requires_grad_(True)
    return model


def hugging_face_vit():
    sizes = {"hidden_size": 64, "intermediate_size": 128, "image_size": 32, "patch_size": 16}
    config = ViTConfig(num_hidden_layers=2, num_attention_heads=2, num_labels=CLASSES, **sizes)
    model = ViTForImageClassification(config)
    targets = [
        n for n, m in model.vit.named_modules() if isinstance(m, nn.Linear) and "attention" in n
    ]
    lora = peft.LoraConfig(r=4, target_modules=targets, modules_to_save=["classifier"])
    return peft.get_peft_model(model, lora)


def mlp():
    return SimpleMLP(num_classes=CLASSES, input_size=3 * 32 * 32, hidden_size=32, drop_rate=0)


def tuned_vit():
    model = small_vit()
    attach(model, LoRA(4))
    return model


def multitask():
    """Heads for tasks behind a ViT with LoRA."""
    return as_multitask(tuned_vit(), "head")


UNTOLD = {  # model, path of its classifier
    "own fc": (OwnHead, "fc"),
    "torchvision": (torchvision_vit, "heads.head"),
    "hugging face": (hugging_face_vit, "base_model.model.classifier.modules_to_save.default"),
    "avalanche's mlp": (mlp, "classifier"),
}
WRAPPED = {
    "data_parallel": (lambda: nn.DataParallel(tuned_vit()), "head"),
    "normalised": (lambda: Normalised(tuned_vit()), "model.head"),
    "in sequence": (lambda: nn.Sequential(nn.Identity(), tuned_vit()), "1.head"),
    "both": (lambda: nn.DataParallel(Normalised(tuned_vit())), "model.head"),
    "resnet": (
        lambda: nn.DataParallel(timm.create_model("test_resnet", num_classes=CLASSES).eval()),
        "fc",
    ),
}


def built(make):
    """A model in float64, the same each time."""
    torch.manual_seed(0)
    return make().double()


def layer_of(model, path):
    inner = model.module if isinstance(model, nn.DataParallel) else model
    return inner.get_submodule(path)
