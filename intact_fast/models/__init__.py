"""Networks: G, D, C (OSNet), φ, σ and the retrieval module. They know nothing of training."""

from intact_fast.models.association import AssociationNetwork, AssociationOutput, Bridge, FeatureScaler
from intact_fast.models.discriminator import Discriminator, DiscriminatorOutput
from intact_fast.models.frozen import frozen_view
from intact_fast.models.fused import select_kernels
from intact_fast.models.generator import Generator
from intact_fast.models.osnet import OSNet, build_osnet

__all__ = [
    "AssociationNetwork",
    "AssociationOutput",
    "Bridge",
    "Discriminator",
    "DiscriminatorOutput",
    "FeatureScaler",
    "Generator",
    "OSNet",
    "build_osnet",
    "frozen_view",
    "select_kernels",
]
