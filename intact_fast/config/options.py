"""Every option of a training and an evaluation, as nested dataclasses.

Each field's docstring is its ``--help`` text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

DatasetName = Literal[
    "synthetic", "viper", "market1501", "dukemtmc", "cuhk03", "cuhk03-np", "msmt17", "caviar", "folder"
]
CUHK03Boxes = Literal["detected", "labeled"]
CUHK03Protocol = Literal["classic", "new"]
Interpolation = Literal["bilinear", "bicubic", "area", "lanczos"]
SameCamera = Literal["drop", "keep"]
GeneratorArch = Literal["paper", "light", "none"]
QueryCritic = Literal["off", "joint", "alternating"]
FeatureForm = Literal["relative", "cosine", "map"]
TestTime = Literal["flip", "plain", "shifts", "cosine"]
OSNetName = Literal[
    "osnet_x1_0",
    "osnet_x0_75",
    "osnet_x0_5",
    "osnet_x0_25",
    "osnet_ibn_x1_0",
    "osnet_ain_x1_0",
    "osnet_ain_x0_75",
    "osnet_ain_x0_5",
    "osnet_ain_x0_25",
]
"""torchreid's names; `ibn` and `ain` have instance normalisation, for data of other domains."""


@dataclass(frozen=True)
class DataConfig:
    """Pictures, splits and degradation (section 4.1)."""

    dataset: DatasetName = "synthetic"
    """Which catalogue reads `root`."""
    root: Path = Path("data")
    """Folder that holds the data set; `synthetic` is written below it once."""
    sources: tuple[str, ...] = ()
    """Further data sets whose training people train as well: names, for `root`, or `name:folder`."""
    manifest: Path | None = None
    """Split manifest to use as it is, instead of building one from `root`."""
    name_pattern: str | None = None
    """Regular expression with the group `pid` and, optionally, `camera` and `role`, by which `folder` reads names; it
    is searched in the path below `root` where it holds a slash, else in the file name."""
    height: int = 256
    """Height of the network inputs in pixels."""
    width: int = 128
    """Width of the network inputs in pixels."""
    factors: tuple[int, ...] = (2, 3, 4)
    """Down-sampling rates r, drawn uniformly per picture."""
    rates: Literal["listed", "continuous"] = "listed"
    """`continuous` trains on rates drawn uniformly between the least and the greatest of `factors`."""
    degradation: Literal["downsample", "blind"] = "downsample"
    """`blind` also draws blur, filter, noise, JPEG and gamma for each training picture, and writes a corrupted form of
    each LR query into the manifest (read by Pillow)."""
    clean_share: float = 0.0
    """Share of the training pictures that `blind` does not corrupt; these have a drawn rate alone."""
    interpolation: Interpolation = "bilinear"
    """Filter of the degradation and of its way back to the input size."""
    jpeg_quality: int | None = None
    """JPEG quality (1-100) applied to the down-sampled picture; none leaves it out."""
    lr_camera: str = "auto"
    """Camera whose test pictures are the LR queries; `auto` is the data set's own rule, `random` draws one for each
    identity by `split_seed`."""
    test_queries: Literal["official", "camera"] = "official"
    """`camera` makes all test pictures of an identity's LR camera queries, the others are its gallery."""
    cuhk03_boxes: CUHK03Boxes = "detected"
    """Bounding boxes of CUHK03 and CUHK03-NP: a detector's, or labelled by hand."""
    cuhk03_protocol: CUHK03Protocol = "classic"
    """`classic` takes test set number `split_seed` mod 20 (1,367/100 identities), `new` is 767/700 (Zhong et al.)."""
    split_seed: int = 0
    """Seed of random identity splits and of the r of every LR test picture."""
    val_fraction: float = 0.1
    """Share of the training identities held out for choosing the best checkpoint."""
    flip: bool = True
    """Flip the LR and HR picture of a pair together, half of the time."""
    pad: int = 0
    """Pad each side by this many pixels and crop back at a random offset."""
    augment: Literal["none", "strong"] = "none"
    """`strong` shifts colours and pastes rectangles of other pictures, alike in both pictures of a pair."""
    unlabelled: Path | None = None
    """Folder of further pictures that train the terms without identities (`loss.lambda_f`, MSE)."""
    backend: Literal["auto", "dali", "pillow"] = "auto"
    """Training loader; `auto` takes DALI where it is installed."""
    decode: Literal["auto", "cpu", "gpu"] = "auto"
    """Where DALI decodes and resizes; `auto` follows the training device."""
    cache_mib: int = 0
    """Main memory of each process, in MiB, for training pictures decoded once (DALI); 0 decodes them every time."""
    threads: int = 2
    """Worker threads (DALI) or processes (Pillow) per training process."""
    prefetch: int = 2
    """Batches prepared ahead."""
    skip_corrupt: bool = False
    """Leave unreadable training pictures out instead of stopping."""


@dataclass(frozen=True)
class GeneratorConfig:
    """The super-resolution network G (paper section 4.3, Fig. 3)."""

    arch: GeneratorArch = "paper"
    """`paper` is Fig. 3, `light` a residual body at a quarter of the size; `none` leaves G out and trains C_q alone."""
    widths: tuple[int, ...] = (64, 128, 256, 512)
    """Channels of the encoder's groups; the decoder mirrors them."""
    blocks_per_group: int = 2
    """Residual blocks in each group."""
    skip: Literal["none", "add"] = "none"
    """`add` sums each encoder group's output into the decoder at the same size."""
    global_residual: bool = False
    """Output x_l plus a correction whose last convolution starts at zero."""
    light_width: int = 48
    """Channels of the light G's body."""
    light_blocks: int = 6
    """Residual blocks of the light G's body."""
    light_factor: int = 4
    """How many times smaller than the input the light G's body works: 4 or 8 with LR pictures of that size."""
    light_reparameterised: bool = False
    """Train each convolution of the light G's body as the sum of three branches, served as one convolution."""
    ema_decay: float | None = None
    """Decay per iteration of an averaged G (and C_q) that is validated, evaluated and served; none leaves it out."""


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator D (SRGAN's, with a pooled head)."""

    widths: tuple[int, ...] = (64, 128, 256, 512)
    """Channels of its four pairs of convolutions."""
    hidden: int = 1024
    """Width of its fully connected layer, whose activation is f_d `head`."""
    head: Literal["pool", "flatten"] = "pool"
    """`pool` averages over positions first; `flatten` is SRGAN's own."""
    condition: Literal["none", "own", "other"] = "none"
    """A projection discriminator D(x, f_c(x_h)), given f_c of the `own` HR picture, or (a control) of another one."""


@dataclass(frozen=True)
class AssociationConfig:
    """The association network φ, the bridge σ and how L_dis is used (section 3.2)."""

    direction: Literal["r-to-d", "d-to-r", "common-space"] = "r-to-d"
    """φ from f_c to f_d, from f_d to f_c, or both mapped into a common space (Table 4, Fig. 5)."""
    bridge: bool = True
    """Train σ and φ's encoder with L_e (Table 5); a common space has none."""
    feature: Literal["head", "pool", "conv5"] = "head"
    """Which activation of D is f_d."""
    scale: Literal["raw", "standardised"] = "raw"
    """`standardised` divides f_d by its running statistics over HR pictures."""
    output_gamma: float = 1.0
    """Initial γ of φ's last batch normalisation, the spread of its predictions; the best one is the square root of the
    R² in reach, and Adam moves it by its learning rate alone: 0.3 for short trainings."""
    hidden: tuple[int, int] = (512, 256)
    """Widths of the encoder's first two layers."""
    latent: int = 200
    """Dimension of f_e."""
    target: Literal["live", "ema"] = "live"
    """Take f_d from D itself or from a moving average of D."""
    ema_decay: float = 0.98
    """Decay of that moving average per iteration."""
    updates_per_iteration: int = 1
    """Updates of φ and σ in each iteration."""
    dis_warmup: int = 0
    """Iterations before L_dis acts."""
    dis_gate: Literal["none", "r2"] = "none"
    """`r2` multiplies L_dis by the recent R² of φ, never below 0."""
    gate_decay: float = 0.95
    """Decay of the recent average of R²."""
    dis_gradient: Literal["both", "f_d", "f_c"] = "both"
    """Through which side of L_dis G is trained; the other side is a constant."""
    predictor: Literal["phi", "mean"] = "phi"
    """What L_dis compares f_d with: φ(f_c), or (a control) the running mean of f_d on HR pictures."""
    dis_floor: Literal["none", "hr"] = "none"
    """`hr` lets L_dis train G only while it is larger on G's pictures than recently on HR ones."""
    dis_updates_discriminator: bool = False
    """Let L_dis also update D (the paper's section 3.2; Algorithm 1 does not)."""


@dataclass(frozen=True)
class CriticConfig:
    """The re-id network C, trained once on HR pictures and then frozen."""

    arch: OSNetName = "osnet_x1_0"
    """OSNet by torchreid's name: its width, or one with instance normalisation (`ibn`, `ain`)."""
    checkpoint: Path | None = None
    """A finished critic (ours or torchreid's), loaded strictly; skips its training."""
    init: Path | None = None
    """Weights to start the critic's training from; the classifier is reset."""
    query: QueryCritic = "off"
    """Train C_q, a copy of C on the query side alone: in each iteration with G (`joint`), or in turn with it."""
    keep_classifier: bool = False
    """Keep the classifier of `init`, too; it must know the same identities."""
    degraded: float = 0.0
    """Share of the critic's training pictures that it sees degraded, like LR queries; 0 trains on HR alone."""
    iterations: int = 20_000
    """Training iterations."""
    batch_size: int = 64
    """Pictures per process and iteration."""
    learning_rate: float = 1.5e-3
    """Peak learning rate of Adam under a one-cycle schedule."""
    weight_decay: float = 5e-4
    """Weight decay."""
    label_smoothing: float = 0.1
    """Label smoothing of the critic's own cross-entropy."""
    pad: int = 10
    """Pad-and-crop augmentation of the critic's training, in pixels."""
    erased: float = 0.0
    """Share of the critic's training pictures that lose a rectangle of 2 to 40 % of their area (random erasing)."""
    half_size: float = 0.0
    """Share of the iterations, the first ones, in which the critic sees pictures of half the height and width."""
    ema_decay: float | None = None
    """Decay per iteration of an averaged C, which is what the training gives then; none leaves it out."""
    enlarge: int = 1
    """C sees pictures enlarged this many times (bilinearly), so that G may work at a smaller size than C."""


@dataclass(frozen=True)
class LossConfig:
    """Weights and forms of the generator's loss (Eq. 4 and 8)."""

    lambda_g: float = 0.1
    """Weight of the adversarial term; 0 leaves D out of the training where the association does not need it."""
    lambda_c: float = 0.3
    """Weight of the identity term."""
    lambda_dis: float = 1.0
    """Weight of the association term; 0 leaves φ and σ out of the training."""
    lambda_f: float = 0.0
    """Weight of the feature term: f_c of the super-resolved picture towards f_c of the HR one."""
    feature: FeatureForm = "relative"
    """Form of the feature term: squared distance relative to the length of f_c, `cosine`, or `relative` with C's last
    feature `map` beside f_c."""
    adversarial: Literal["non_saturating", "saturating"] = "non_saturating"
    """Form of the generator's adversarial loss; `saturating` is Eq. 1 literally."""


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam for G, D and the association (section 4.3)."""

    generator_learning_rate: float = 1e-4
    """Learning rate of G."""
    discriminator_learning_rate: float = 1e-4
    """Learning rate of D."""
    association_learning_rate: float = 1e-3
    """Learning rate of φ and σ."""
    query_critic_learning_rate: float = 3e-4
    """Learning rate of C_q."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rates of G and C_q over a training: constant, or down to 0 along half a cosine."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates."""
    backend: Literal["torch", "apex"] = "torch"
    """Fused Adam of PyTorch, or NVIDIA apex's (built from source)."""


@dataclass(frozen=True)
class TrainingConfig:
    """The alternating training (Algorithm 1)."""

    iterations: int = 40_000
    """Iterations of the three updates."""
    batch_size: int = 32
    """Pictures per process and iteration."""
    step: Literal["shared", "naive"] = "shared"
    """`shared` reuses forward passes; `naive` is the plain reference."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast type of G, D and C (fp16 scales its losses); `auto` is bf16 on GPUs and processors that compute it, else
    fp32."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile each role of the training step into one graph; `auto` does on CUDA (on a CPU it measured slower)."""
    f_c_table: bool = False
    """Compute f_c of each HR training picture once and look it up afterwards (not with `data.pad`)."""
    cuda_graph: Literal["auto", "on", "off"] = "auto"
    """Replay whole iterations as CUDA graphs (one process on a GPU); `auto` does where it can."""
    sync_bn: bool = False
    """Batch statistics of G, D, φ and σ over all processes (several GPUs) instead of each process's own."""
    kernels: Literal["auto", "measured", "triton", "torch"] = "auto"
    """Fused operators (`triton`: all); in CUDA graphs `auto` takes those `measured` faster than PyTorch's own, or when
    compiling than Inductor's."""
    log_every: int = 50
    """Iterations between records of losses, gradient norms and health."""
    checkpoint_every: int = 1000
    """Iterations between checkpoints."""
    keep_checkpoints: int = 2
    """How many of the latest checkpoints stay."""
    validate_every: int = 2000
    """Iterations between validations; 0 validates only at the end."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Ranking and scoring (section 4.2)."""

    protocol: Literal["single-shot", "sampled", "multi-shot"] = "single-shot"
    """`single-shot` is the exact expectation, `sampled` averages random galleries."""
    metric: Literal["euclidean", "cosine"] = "euclidean"
    """Distance between features."""
    repeats: int = 10
    """Random galleries of the `sampled` protocol."""
    batch_size: int = 64
    """Pictures per forward pass."""
    distractors: Literal["auto", "drop", "keep"] = "auto"
    """Gallery pictures of pid 0; `auto` drops them in single-shot and keeps them in multi-shot."""
    same_camera: SameCamera = "drop"
    """The query's person in the query's own camera: `drop` leaves it out, `keep` makes it a right match, for pictures
    without camera ids."""
    gallery: Literal["bypass", "auto"] = "bypass"
    """Whether gallery pictures that are natively low-resolution pass through G (`auto`), or none does."""
    skip_corrupt: bool = False
    """Leave unreadable queries and gallery pictures out instead of stopping; table and report name them."""
    test_time: tuple[TestTime, ...] = ()
    """Further rows of the table: queries mean over themselves and their mirror image (`flip`), over the plain and the
    super-resolved picture (`plain`), over five sub-pixel `shifts`; `cosine` distance."""
    rerank: bool = False
    """Re-rank by k-reciprocal encoding (k1 = 20, k2 = 6, λ = 0.3) before scoring; all queries take part."""


@dataclass(frozen=True)
class Config:
    """Everything a run depends on."""

    preset: Literal["auto", "paper", "fast", "best", "cpu"] = "auto"
    """Where the defaults come from; `auto` is `paper` with a GPU and `cpu` without."""
    name: str = "default"
    """Name of the run; starting again with the same name resumes it."""
    runs: Path = Path("runs")
    """Folder that holds the runs."""
    device: str = "auto"
    """Device to train on: `auto`, `cpu`, `cuda`, or one of several GPUs as `cuda:1`."""
    seed: int = 0
    """Seed of weights, order and augmentation."""
    debug: bool = False
    """Show tracebacks of user errors."""
    compare: tuple[str, ...] = ()
    """Recipes (`intact-fast experiments --list`) to train after the run, with its C, for one table with it."""
    data: DataConfig = field(default_factory=DataConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    association: AssociationConfig = field(default_factory=AssociationConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
