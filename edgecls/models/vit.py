"""Vision transformer: a picture as a sentence of patches (Dosovitskiy et al. 2020)."""

from __future__ import annotations

import dataclasses

from edgecls.models._attention import attend, layer_norm
from edgecls.models._blocks import TORCH, activate, keras
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="vit",
    title="Vision transformer",
    year=2020,
    paper="Dosovitskiy et al., An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, "
    "arXiv:2010.11929",
    tier=Tier.HEAVY,
    idea="Cut the picture into patches, treat them as words, and let attention find what belongs together.",
)


def _block(suffix):
    """timm counts blocks from 0."""
    return lambda m: f"blocks.{int(m[1]) - 1}.{suffix}"


TIMM_NAMES = renamed({
    r"patches_conv": "patch_embed.proj",
    r"class_token": "cls_token",
    r"positions": "pos_embed",
    r"block(\d+)_attention_ln": _block("norm1"),
    r"block(\d+)_qkv": _block("attn.qkv"),
    r"block(\d+)_project": _block("attn.proj"),
    r"block(\d+)_mlp_ln": _block("norm2"),
    r"block(\d+)_mlp1": _block("mlp.fc1"),
    r"block(\d+)_mlp2": _block("mlp.fc2"),
    r"head_ln": "norm",
    r"classifier": "head",
})


@variant(
    "vit_tiny_patch16",
    source="timm",
    reference="timm.models.vit_tiny_patch16_224",
    family=FAMILY,
    source_name=TIMM_NAMES,
    params=5_717_416,
    macs=1_253_683_200,
    preprocess=dataclasses.replace(PREPROCESS["tf"], resize=248, interpolation="bicubic"),
    min_input_size=16,
    size_step=16,
    size_reason="it is cut into patches of 16x16",
    options={"patch": 16, "width": 192, "depth": 12, "heads": 3},
)
def vit(image, *, classes, patch, width, depth, heads):
    """Section 3.1; the class token's end goes to the classifier."""
    from edgecls.keras_layers import ClassToken, PositionEmbedding

    x = TORCH.conv(image, width, patch, stride=patch, bias=True, padding="valid", name="patches")
    x = keras.layers.Reshape((-1, width), name="tokens")(x)
    x = ClassToken(name="class_token")(x)
    x = PositionEmbedding(name="positions")(x)
    for number in range(1, depth + 1):
        x = encoder_block(x, heads, name=f"block{number}")
    x = layer_norm(x, name="head")
    return keras.layers.Dense(classes, name="classifier")(x[:, 0])


def encoder_block(x, heads, *, name):
    """Figure 1, right: attention, then two dense layers, each behind a norm and beside a shortcut."""
    tokens, width = x.shape[1:]
    y = layer_norm(x, name=f"{name}_attention")
    y = keras.layers.Dense(3 * width, name=f"{name}_qkv")(y)
    y = keras.layers.Reshape((tokens, 3, heads, width // heads), name=f"{name}_split")(y)
    y = attend(y[:, :, 0], y[:, :, 1], y[:, :, 2], name=f"{name}_attention")
    y = keras.layers.Dense(width, name=f"{name}_project")(y)
    x = keras.layers.Add(name=f"{name}_attention_add")([x, y])
    y = layer_norm(x, name=f"{name}_mlp")
    y = activate(keras.layers.Dense(4 * width, name=f"{name}_mlp1")(y), "gelu", name=f"{name}_mlp1")
    y = keras.layers.Dense(width, name=f"{name}_mlp2")(y)
    return keras.layers.Add(name=f"{name}_mlp_add")([x, y])
