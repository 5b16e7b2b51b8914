"""The built-in encoders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cryoreg.errors import DataError
from cryoreg.specs import EncoderSpec

if TYPE_CHECKING:
    from cryoreg.encoders.cb3d import CB3D
    from cryoreg.encoders.densenet import DenseNet3D
    from cryoreg.encoders.dsrf3d import DSRF3D
    from cryoreg.encoders.octahedral import OctahedralRB3D
    from cryoreg.encoders.rb3d import RB3D
    from cryoreg.encoders.resnet import ResNet3D
    from cryoreg.encoders.timm3d import Timm3D
    from cryoreg.encoders.vit import ViT3D
    from cryoreg.encoders.yopo import YOPO


class RB3DSpec(EncoderSpec):
    """RB3D: four two-branch bottleneck blocks, 256 features, 115,904 parameters.

    The encoder of Gupta et al. 2022 (Front. Physiol. 13:957484) in the layout of the lab's code: conv 3³ 1→32, ReLU,
    max-pool; four blocks of {right: conv 3³; left: conv 1³, conv 3³, conv 1³; concatenate; ReLU}; average pool to 2³.
    Convolutions start Kaiming-normal (fan-out) with zero biases, as the lab does: the network has no normalisation
    layer, and with torch's default its features hardly differ between subtomograms.
    """

    min_box: ClassVar[int] = 4
    default_weights: ClassVar[str | None] = "rb3d_universe"

    width: int = Field(32, ge=2, multiple_of=2, description="filters of the stem and of each block's output")
    pool_kernel: Literal[2, 3] = Field(2, description="kernel of the stem's max-pool; the figure's caption says 3")
    norm: Literal["none", "batch", "group"] = Field("none", description="normalisation after each convolution")
    hidden: int = Field(0, ge=0, description="width of a fully connected layer after the pool; 0: none")
    fourier_channel: bool = Field(
        False, description="also see the volume's log Fourier amplitudes, as a second channel; has the missing wedge"
    )

    def build(self) -> RB3D:
        """Return the network with fresh weights."""
        from cryoreg.encoders.rb3d import RB3D

        return RB3D(**self.model_dump())


class RB3DFCSpec(RB3DSpec):
    """RB3D with the hidden fully connected layer of the paper's figure: 1024 features.

    Figure 2 of Gupta et al. 2022 (Front. Physiol. 13:957484) draws FC-1024 between the pool and the classifier, which
    the lab's code leaves out.
    """

    default_weights: ClassVar[str | None] = None

    hidden: int = Field(1024, ge=1, description="width of the fully connected layer after the pool")


class OctahedralRB3DSpec(EncoderSpec):
    """RB3D with kernels in all 24 turns of the cube: 256 features that no turn of the volume changes.

    Group convolutions (Cohen & Welling 2016, arXiv 1602.07576; in 3D, Worrall & Brostow 2018, arXiv 1804.04458) in the
    layout of RB3D (Gupta et al. 2022) with batch normalisation: a layer costs what one of RB3D's with as many filters
    does, and has 24 times fewer parameters. Pools keep the cube's symmetry along even and odd edges. The octants that
    RB3D ends with are read from all 24 orientations by one fully connected layer, over which the mean or maximum is
    taken last: turned by 90° or 180° about any axes, a volume has the same features, up to rounding.
    """

    min_box: ClassVar[int] = 5

    width: int = Field(48, ge=48, multiple_of=48, description="filters of each layer: 24 turns of width / 24 kernels")
    features: int = Field(256, ge=1, description="outputs of the fully connected layer")
    blocks: int = Field(4, ge=1, description="bottleneck blocks after the stem")
    orientations: Literal["mean", "max"] = Field("mean", description="what of the 24 orientations is left")
    fourier_channel: bool = Field(
        False, description="also see the volume's log Fourier amplitudes, as a second channel; has the missing wedge"
    )

    def build(self) -> OctahedralRB3D:
        """Return the network with fresh weights."""
        from cryoreg.encoders.octahedral import OctahedralRB3D

        return OctahedralRB3D(**self.model_dump())


class DSRF3DV2Spec(EncoderSpec):
    """DSRF3D_v2: six 3³ convolutions, two max-pools, global average: 128 features, 858,400 parameters.

    Che et al. 2018, "Improved deep learning-based macromolecules structure classification from electron cryo-tomograms"
    (Mach. Vis. Appl.). Uncertain: the network here ends in a global average over the last 128 channels, while the
    authors' published code goes on with a third pool and two fully connected layers of 1024 with dropout, which tie it
    to one box. Weights start Kaiming-normal (fan-in) with zero biases, as there is no normalisation layer.
    """

    min_box: ClassVar[int] = 4

    def build(self) -> DSRF3D:
        """Return the network with fresh weights."""
        from cryoreg.encoders.dsrf3d import DSRF3D

        return DSRF3D()


class CB3DSpec(EncoderSpec):
    """CB3D: six 3³ convolutions, four max-pools, FC 4096 twice: 4096 features, 63,835,520 parameters.

    Che et al. 2018, "Improved deep learning-based macromolecules structure classification from electron cryo-tomograms"
    (Mach. Vis. Appl.), after C3D. Uncertain: the authors' published code has a fifth pair of convolutions and a fifth
    pool, which are left out here. Averaging to 4×2×2 before the first FC is ours: it leaves a 32³ box as it is, and
    lets other boxes pass. Weights start Kaiming-normal (fan-in) with zero biases, as there is no normalisation layer.
    """

    min_box: ClassVar[int] = 16

    dropout: float = Field(0.5, ge=0, lt=1, description="fraction dropped after each fully connected layer")

    def build(self) -> CB3D:
        """Return the network with fresh weights."""
        from cryoreg.encoders.cb3d import CB3D

        return CB3D(**self.model_dump())


class YOPOSpec(EncoderSpec):
    """YOPO: two stages of parallel convolution columns, each layer's maximum: 290 features, 152,186 parameters.

    Feature extractor of DISCA, Zeng et al. (2021, as a preprint): valid convolution, ELU, batch normalisation. First
    stage: columns of kernels 3³, 4³, 5³ and 7³ to 20³, concatenated; second: 3³, 4³, 5³ and 6³. Uncertain: that the
    pool tapped off each layer is a maximum and comes after the normalisation, and how this layout relates to the
    other versions of YOPO in the authors' code. Weights start Kaiming-normal (fan-in), whose scale batch normalisation
    then makes immaterial, with zero biases.
    """

    min_box: ClassVar[int] = 32
    exact_box: ClassVar[bool] = True

    def build(self) -> YOPO:
        """Return the network with fresh weights."""
        from cryoreg.encoders.yopo import YOPO

        return YOPO()


class _ResNetSpec(EncoderSpec):
    depth: ClassVar[Literal[10, 18, 34, 50]]

    stem_stride: Literal[1, 2] = Field(1, description="stride of the first convolution; 2 for large boxes")
    width: int = Field(64, ge=1, description="filters of the first stage, an eighth of the last one's; 16: small")

    def build(self) -> ResNet3D:
        """Return the network with fresh weights."""
        from cryoreg.encoders.resnet import ResNet3D

        return ResNet3D(self.depth, **self.model_dump())


class ResNet10Spec(_ResNetSpec):
    """ResNet-10 in 3D, one basic block per stage: 512 features, 14,355,520 parameters.

    He et al. 2016, "Deep residual learning for image recognition" (arXiv 1512.03385), in 3D after Hara et al. 2018
    (arXiv 1711.09577), as in MONAI (``monai.networks.nets.resnet10``), without biases before batch normalisation.
    """

    depth: ClassVar[Literal[10, 18, 34, 50]] = 10


class ResNet18Spec(_ResNetSpec):
    """ResNet-18 in 3D, two basic blocks per stage: 512 features, 33,160,000 parameters.

    He et al. 2016, "Deep residual learning for image recognition" (arXiv 1512.03385), in 3D after Hara et al. 2018
    (arXiv 1711.09577), as in MONAI (``monai.networks.nets.resnet18``), without biases before batch normalisation.
    """

    depth: ClassVar[Literal[10, 18, 34, 50]] = 18


class ResNet34Spec(_ResNetSpec):
    """ResNet-34 in 3D, 3, 4, 6 and 3 basic blocks: 512 features, 63,469,632 parameters.

    He et al. 2016, "Deep residual learning for image recognition" (arXiv 1512.03385), in 3D after Hara et al. 2018
    (arXiv 1711.09577), as in MONAI (``monai.networks.nets.resnet34``), without biases before batch normalisation.
    """

    depth: ClassVar[Literal[10, 18, 34, 50]] = 34


class ResNet50Spec(_ResNetSpec):
    """ResNet-50 in 3D, 3, 4, 6 and 3 bottlenecks: 2048 features, 46,155,072 parameters.

    He et al. 2016, "Deep residual learning for image recognition" (arXiv 1512.03385), in 3D after Hara et al. 2018
    (arXiv 1711.09577), as in MONAI (``monai.networks.nets.resnet50``), without biases before batch normalisation.
    """

    depth: ClassVar[Literal[10, 18, 34, 50]] = 50


class DenseNet121Spec(EncoderSpec):
    """DenseNet-121 in 3D, dense blocks of 6, 12, 24 and 16 layers: 1024 features, 11,242,624 parameters.

    Huang et al. 2017, "Densely connected convolutional networks" (arXiv 1608.06993), in 3D as in MONAI
    (``monai.networks.nets.DenseNet121``).
    """

    min_box: ClassVar[int] = 29

    def build(self) -> DenseNet3D:
        """Return the network with fresh weights."""
        from cryoreg.encoders.densenet import DenseNet3D

        return DenseNet3D()


class _ViTSpec(EncoderSpec):
    size: ClassVar[tuple[int, int, int]]
    """Width, blocks, heads."""

    patch_size: int = Field(8, ge=2, description="edge of a patch in voxels, of which a box's edges are multiples")

    def box_step(self) -> int:
        """Return the edge of a patch."""
        return self.patch_size

    def build(self) -> ViT3D:
        """Return the network with fresh weights."""
        from cryoreg.encoders.vit import ViT3D

        return ViT3D(*self.size, patch_size=self.patch_size)


class ViTTinySpec(_ViTSpec):
    """ViT-Tiny of 3D patches, 12 blocks with 3 heads: 192 features, 5,437,248 parameters.

    Dosovitskiy et al. 2021, "An image is worth 16x16 words" (arXiv 2010.11929), in the sizes of DeiT (Touvron et al.
    2021, arXiv 2012.12877), with timm's blocks. Positions are fixed sines and cosines, computed for each grid, so that
    one network takes boxes of any size; there is no class token: features are the mean over the patches (He et al.
    2022, arXiv 2111.06377).
    """

    size: ClassVar[tuple[int, int, int]] = (192, 12, 3)


class ViTSmallSpec(_ViTSpec):
    """ViT-Small of 3D patches, 12 blocks with 6 heads: 384 features, 21,491,328 parameters.

    Dosovitskiy et al. 2021, "An image is worth 16x16 words" (arXiv 2010.11929), in the sizes of DeiT (Touvron et al.
    2021, arXiv 2012.12877), with timm's blocks. Positions are fixed sines and cosines, computed for each grid, so that
    one network takes boxes of any size; there is no class token: features are the mean over the patches (He et al.
    2022, arXiv 2111.06377).
    """

    size: ClassVar[tuple[int, int, int]] = (384, 12, 6)


class Timm3DSpec(EncoderSpec):
    """Any convolutional 2D network of timm, inflated to 3D: ``--set encoder.model=resnet18``.

    Inflation as in I3D (Carreira & Zisserman 2017, arXiv 1705.07750): kernels and strides are the same along z, and 2D
    weights are repeated along z and divided by the depth; fresh ones get noise without sum along z. Where the 2D
    network pads with zeros, border slices are repeated along z, so that a volume constant along z gives the 2D
    network's features. That is checked for every layer when the network is built; a model with a layer that knows two
    axes only, as attention does, is refused. ResNets, RegNets, DenseNets, ConvNeXts, MobileNets and EfficientNets work.
    """

    initial_weights: ClassVar[frozenset[str]] = frozenset({"weights"})

    model: str = Field("resnet18", min_length=1, description="timm's name of the 2D network")
    weights: Path | None = Field(None, description="local file with its 2D weights: safetensors, or of torch")
    stem_stride: Literal[0, 1, 2] = Field(0, description="stride of the first convolution; 0: the model's own")

    def check_box(self, box: tuple[int, int, int]) -> None:
        """Raise `DataError` where the model's strides and pools leave nothing of the box."""
        from cryoreg.encoders.timm3d import takes

        super().check_box(box)
        if not takes(self.model, self.stem_stride, box):
            raise DataError(
                f"timm3d with the model {self.model} cannot take the subtomograms of {'×'.join(map(str, box))} voxels: "
                "nothing is left of them; set encoder.stem_stride=1, extract larger boxes or choose another model"
            )

    def build(self) -> Timm3D:
        """Return the network with fresh or inflated weights."""
        from cryoreg.encoders.timm3d import Timm3D

        return Timm3D(**self.model_dump())
