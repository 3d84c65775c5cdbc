"""Networks: G, D, C (OSNet), φ, σ and the retrieval module. They know nothing of training."""

from intact_fast.models.association import AssociationNetwork, AssociationOutput, Bridge, FeatureScaler
from intact_fast.models.discriminator import Discriminator, DiscriminatorOutput
from intact_fast.models.frozen import frozen_view
from intact_fast.models.fused import select_kernels
from intact_fast.models.generator import Generator
from intact_fast.models.generators import AnyGenerator, NoGenerator, generator_of
from intact_fast.models.light_generator import LightGenerator
from intact_fast.models.osnet import OSNet, build_osnet

__all__ = [
    "AnyGenerator",
    "AssociationNetwork",
    "AssociationOutput",
    "Bridge",
    "Discriminator",
    "DiscriminatorOutput",
    "FeatureScaler",
    "Generator",
    "LightGenerator",
    "NoGenerator",
    "OSNet",
    "build_osnet",
    "frozen_view",
    "generator_of",
    "select_kernels",
]
