"""Every row that has an independent implementation computes what that implementation computes."""

import numpy as np
import pytest

import goldens
from edgecls import builder

#: row -> golden file.
ROWS = {
    "efficientnet_lite0.timm": "tf_efficientnet_lite0",
    "efficientnet_lite0.timm_torch": "efficientnet_lite0",
    "efficientnet_lite1.timm": "tf_efficientnet_lite1",
    "efficientnet_lite2.timm": "tf_efficientnet_lite2",
    "efficientnet_lite4.timm": "tf_efficientnet_lite4",
    "efficientnet_v2_b0.timm": "tf_efficientnetv2_b0",
    "efficientnet_v2_s.torchvision": "efficientnet_v2_s",
    "ghostnet.timm": "ghostnet_100",
    "mnasnet_050.torchvision": "mnasnet0_5",
    "mnasnet_100.torchvision": "mnasnet1_0",
    "mobilenet_v1.timm": "mobilenetv1_100",
    "mobilenet_v1_050.timm": "mobilenetv1_050",
    "mobilenet_v1_025.timm": "mobilenetv1_025",
    "mobilenet_v2.torchvision": "mobilenet_v2",
    "resnet18.torchvision": "resnet18",
    "resnet50.torchvision": "resnet50",
    "resnet101.torchvision": "resnet101",
    "resnet50_v2.timm": "resnetv2_50",
    "coatnet_0.timm": "coatnet_0_224",
    "coatnet_0_rw.timm": "coatnet_0_rw_224",
    "densenet121.torchvision": "densenet121",
    "densenet161.torchvision": "densenet161",
    "densenet201.torchvision": "densenet201",
    "densenet100_k12_bc_cifar.pytorchcv": "pcv_densenet100_k12_bc_cifar10",
    "nasnet_large.timm": "nasnetalarge",
    "resnext50_32x4d.torchvision": "resnext50_32x4d",
    "vit_tiny_patch16.timm": "vit_tiny_patch16_224",
    "se_resnet18.timm": "legacy_seresnet18",
    "se_resnet50.timm": "legacy_seresnet50",
    "se_resnet50.timm_resnet": "seresnet50",
    "senet154.timm": "legacy_senet154",
    "resnet110_cifar.pytorchcv": "pcv_resnet110_cifar10",
    "resnet164_v2_cifar.pytorchcv": "pcv_preresnet164bn_cifar10",
    "resnet1001_v2_cifar.pytorchcv": "pcv_preresnet1001_cifar10",
    "alexnet.torchvision": "alexnet",
    "inception_v1.torchvision": "googlenet",
    "inception_v2.pytorchcv": "pcv_bninception",
    "inception_v3.torchvision": "inception_v3",
    "inception_v4.timm": "inception_v4",
    "inception_resnet_v1.pytorchcv": "pcv_inceptionresnetv1",
    "inception_resnet_v2.timm": "inception_resnet_v2",
    "vgg11.torchvision": "vgg11",
    "vgg16.torchvision": "vgg16",
    "vgg16_bn.torchvision": "vgg16_bn",
    "vgg19.torchvision": "vgg19",
    "efficientnet_b0.torchvision": "efficientnet_b0",
    "efficientnet_b0.timm": "tf_efficientnet_b0",
    "efficientnet_b1.torchvision": "efficientnet_b1",
    "efficientnet_b3.torchvision": "efficientnet_b3",
    "efficientnet_b4.torchvision": "efficientnet_b4",
    "efficientnet_b6.torchvision": "efficientnet_b6",
    "efficientnet_b7.torchvision": "efficientnet_b7",
    "mobilenet_v2_050.timm": "mobilenetv2_050",
    "mobilenet_v3_large.torchvision": "mobilenet_v3_large",
    "mobilenet_v3_large.timm": "tf_mobilenetv3_large_100",
    "mobilenet_v3_large_075.timm": "tf_mobilenetv3_large_075",
    "mobilenet_v3_small.timm": "tf_mobilenetv3_small_100",
    "mobilenet_v3_small_minimalistic.timm": "tf_mobilenetv3_small_minimal_100",
    "mobilenet_v4_conv_small.timm": "mobilenetv4_conv_small",
    "shufflenet_v1_g1.pytorchcv": "pcv_shufflenet_g1_w1",
    "shufflenet_v1_g3.pytorchcv": "pcv_shufflenet_g3_w1",
    "shufflenet_v1_g3.megvii": "megvii_shufflenetv1_x1_0_g3",
    "shufflenet_v1_g3_x0_25.pytorchcv": "pcv_shufflenet_g3_wd4",
    "shufflenet_v1_g3_x0_5.pytorchcv": "pcv_shufflenet_g3_wd2",
    "shufflenet_v1_g3_x0_5.megvii": "megvii_shufflenetv1_x0_5_g3",
    "shufflenet_v1_g4.pytorchcv": "pcv_shufflenet_g4_w1",
    "shufflenet_v1_g8.pytorchcv": "pcv_shufflenet_g8_w1",
    "shufflenet_v1_g8.megvii": "megvii_shufflenetv1_x1_0_g8",
    "shufflenet_v2_x0_5.torchvision": "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0.torchvision": "shufflenet_v2_x1_0",
    "shufflenet_v2_x2_0.torchvision": "shufflenet_v2_x2_0",
    "squeezenet1_1.torchvision": "squeezenet1_1",
}

#: Rows that take longer than ten seconds, or whose family has a smaller one above.
SLOW = {
    "coatnet_0_rw.timm",
    "nasnet_large.timm",
    "densenet161.torchvision",
    "densenet201.torchvision",
    "efficientnet_v2_s.torchvision",
    "efficientnet_lite4.timm",
    "se_resnet50.timm",
    "se_resnet50.timm_resnet",
    "senet154.timm",
    "resnet1001_v2_cifar.pytorchcv",
    "inception_resnet_v2.timm",
    "efficientnet_b3.torchvision",
    "efficientnet_b4.torchvision",
    "efficientnet_b6.torchvision",
    "efficientnet_b7.torchvision",
    "resnet50.torchvision",
    "resnet101.torchvision",
    "vgg16.torchvision",
    "vgg16_bn.torchvision",
    "vgg19.torchvision",
}

#: Rows where a tenfold epsilon of the layer norms moves the logits by less than the common tolerance.
TIGHT = {"vit_tiny_patch16.timm": 1e-5}


def logits(row, golden, **changed):
    manifest, expected = goldens.load(golden)
    size = manifest["input_size"][0]
    model = builder.build(row, weights=goldens.tensors(manifest) | changed, input_size=size)
    return np.asarray(model(goldens.image(size), training=False)), expected


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=[pytest.mark.slow] if row in SLOW else []) for row in ROWS]
)
def test_row_equals_its_golden_logits(row):
    got, expected = logits(row, ROWS[row])
    assert goldens.spread(got, expected) < TIGHT.get(row, goldens.TOLERANCE)


def test_comparison_fails_on_one_wrong_tensor():
    name = "features.1.conv.1.weight"
    manifest, _ = goldens.load("mobilenet_v2")
    wrong = goldens.tensors(manifest)[name] * np.float32(1.01)
    got, expected = logits("mobilenet_v2.torchvision", "mobilenet_v2", **{name: wrong})
    assert goldens.spread(got, expected) > goldens.TOLERANCE
