"""The channel statistics (RGB, pictures scaled to [0, 1]) that every network input is normalised with."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
