"""Small models of timm's families of vision transformers: those that attach takes, and others."""

from __future__ import annotations

import timm
import torch
from torch import nn

SMALL = {"depth": 2, "embed_dim": 64, "num_heads": 2, "img_size": 32}
AT_16 = {**SMALL, "patch_size": 16}
ROTARY = {  # tag, options
    "eva02": ("eva02_tiny_patch14_224", AT_16),
    "eva02, layers apart": ("eva02_base_patch14_448", AT_16),
    "eva02 of clip": ("eva02_base_patch16_clip_224", SMALL),
    "dinov3": ("vit_small_patch16_dinov3", SMALL),
    "dinov3, qkv bias": ("vit_small_patch16_dinov3_qkvb", SMALL),
    "dinov3 plus, gated mlp": ("vit_small_plus_patch16_dinov3", SMALL),
    "perception encoder": ("vit_pe_core_tiny_patch16_384", SMALL),
    "axial": ("vit_small_patch16_rope_224", SMALL),
    "mixed": ("vit_small_patch16_rope_mixed_224", SMALL),
    "register, average": ("vit_medium_patch16_rope_reg1_gap_256", SMALL),
    "q- and k-norm, gate": (
        "vit_small_patch16_rope_224",
        {**SMALL, "attn_type": "rope", "qk_norm": True},
    ),
    "norm in attention": ("eva02_base_patch16_clip_224", {**SMALL, "scale_attn_inner": True}),
    "few heads of keys": (
        "vit_small_patch16_rope_224",
        {
            **SMALL,
            "num_heads": 4,
            "attn_type": "rope",
            "qkv_fused": False,
            "num_kv_heads": 2,
        },
    ),
}
BIASED = {
    "eva": ("eva_giant_patch14_224", {**AT_16, "mlp_ratio": 4}),
    "beit": ("beit_base_patch16_224", SMALL),
    "beitv2": ("beitv2_base_patch16_224", SMALL),
    "beit, shared bias": (
        "beit_base_patch16_224",
        {**SMALL, "use_shared_rel_pos_bias": True, "use_rel_pos_bias": False},
    ),
    "relative": ("vit_relpos_small_patch16_224", SMALL),
    "relative, class token": ("vit_relpos_base_patch16_cls_224", SMALL),
    "relative, shared": ("vit_srelpos_small_patch16_224", SMALL),
    "relative, norms after": ("vit_relpos_small_patch16_rpn_224", SMALL),
}
OTHERS = {
    "deit": ("deit_tiny_patch16_224", SMALL),
    "dinov2": ("vit_small_patch14_reg4_dinov2", AT_16),
    "dinov2, gated mlp": ("vit_giant_patch14_reg4_dinov2", {**AT_16, "mlp_ratio": 4}),
    "clip": ("vit_base_patch16_clip_quickgelu_224", SMALL),
    "beit3": ("beit3_base_patch16_224", SMALL),
    "parallel": ("vit_small_patch16_18x2_224", SMALL),
    "norms after": ("vit_base_patch16_rpn_224", SMALL),
    "average, map": ("vit_so150m_patch16_reg4_map_256", {**SMALL, "mlp_ratio": 4}),
    "flexible": ("flexivit_small", SMALL),
    "naflex": ("naflexvit_base_patch16_gap", {"depth": 2, "embed_dim": 64, "num_heads": 2}),
}
TAKEN = {**ROTARY, **BIASED, **OTHERS}
IN_PART = {  # blocks that are taken, with attention that can't be read
    "sam": ("samvit_base_patch16_224", {**SMALL, "global_attn_indexes": (1,)}),
    "cait": ("cait_xxs24_224", SMALL),
    "xcit": ("xcit_nano_12_p16_224", SMALL),
    "differential": ("vit_tiny_patch16_224", {**SMALL, "attn_layer": "diff"}),
}
REFUSED = {  # and the words that name them
    "swin": ("swin_tiny_patch4_window7_224", "SwinTransformer has no `blocks`"),
    "swinv2": ("swinv2_tiny_window8_256", "SwinTransformerV2 has no `blocks`"),
    "hiera": ("hiera_tiny_224", "Hiera have the widths 96, 192, 384, 768"),
    "pit": ("pit_ti_224", "PoolingVisionTransformer has no `blocks`"),
    "tnt": ("tnt_s_patch16_224", "TNT is a Block without norm1"),
    "crossvit": ("crossvit_9_240", "CrossVit is a MultiScaleBlock without norm1"),
    "convnext": ("convnext_atto", "ConvNeXt has no `blocks`"),
    "resnet": ("resnet18", "ResNet has no `blocks`"),
    "parallel, fused": ("vit_pwee_patch16_reg1_gap_256", "ParallelScalingBlock without norm1"),
    "levit": ("levit_128s", "LevitDistilled has no `blocks`"),
    "maxvit": ("maxvit_tiny_tf_224", "MaxxVit has no `blocks`"),
}


def family(name: str, dtype: torch.dtype = torch.float64, classes: int = 6) -> nn.Module:
    """A random model in which every branch and every position counts.

    As timm builds them, LayerScale begins at 1e-6, weights at 0.02, and biases of positions at 0.
    """
    torch.manual_seed(0)
    tag, options = {**TAKEN, **IN_PART}[name]
    model = timm.create_model(tag, num_classes=classes, **options)
    generator = torch.Generator().manual_seed(1)
    for key, p in model.named_parameters():
        drawn = torch.randn(p.shape, generator=generator)
        if p.dim() == 2:
            p.data.copy_(drawn / p.shape[1] ** 0.5)
        elif p.dim() == 1:
            p.data.copy_(0.3 * drawn if "bias" in key else 1 + 0.2 * drawn)
    return model.to(dtype).eval()


def side(name: str) -> int:
    """Its images are so many pixels wide."""
    return {**TAKEN, **IN_PART}[name][1].get("img_size", 32)
