"""An evaluation whose features are drawn, of pictures with names that a page must not take for markup."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from conftest import write_picture
from intact_fast.config.options import EvaluationConfig
from intact_fast.data.manifest import Entry, Header, Manifest
from intact_fast.evaluation.evaluator import Evaluation, rank
from intact_fast.evaluation.features import QualityFigures
from intact_fast.evaluation.picture_source import PictureSource
from intact_fast.evaluation.verification import pair_similarities
from intact_fast.evaluation.views import View
from intact_fast.models import Generator, build_osnet
from intact_fast.reporting.curves import Metrics
from intact_fast.reporting.html_report import Ranked, write_html_report
from intact_fast.reporting.ranked_lists import choose_queries, lists_by_view, ranked_lists
from intact_fast.reporting.threshold_tables import threshold_tables
from intact_fast.serving.sr_reid import SRReID
from intact_fast.serving.thresholds import Threshold, Thresholds, ViewThresholds

HOSTILE = ("<img src=x onerror=alert(1)>.png", "<script>alert(2)<$script>.png", "&quot;'\"`{{ 7 * 7 }}.png")
PEOPLE = 12
METRICS: Metrics = {
    "INTACT": {
        "loss/discriminator": {10: 1.4, 20: 1.2, 30: 1.1},
        "loss/gan": {10: 0.7, 20: 0.9, 30: 0.8},
        "association/r2": {10: -40.0, 20: 0.1, 30: 0.2},
    }
}


THRESHOLDS = Thresholds(
    "folder, held-out training people", {"sr": ViewThresholds(30, 1000, 6, (Threshold(0.1, 0.7312, 0.09, 0.8),))}
)


@dataclass(frozen=True, eq=False)
class Case:
    """What a page is made of."""

    source: PictureSource
    evaluation: Evaluation

    def write(self, path: Path, queries: int = 100, top: int = 10) -> Path:
        choice = choose_queries(self.evaluation, queries)
        lists = lists_by_view(self.evaluation, choice.rows, top)
        upper_bound = ranked_lists(self.evaluation, "hr", choice.rows, 1)
        pairs = pair_similarities(self.evaluation, (0.1,))
        tables = threshold_tables(pairs, self.evaluation.names, THRESHOLDS)
        model = path.with_name("a model#1.safetensors")
        write_html_report(
            path,
            self.source,
            self.evaluation,
            Ranked(choice, lists, upper_bound),
            [0, 1],
            pairs,
            tables,
            METRICS,
            {"model": model},
            ["made with `--x <b>`"],
        )
        return path


def make_case(root: Path, config: EvaluationConfig | None = None, native: bool = False) -> Case:
    """Two queries of each person, three gallery pictures; the first has junk in the queries' camera."""
    config = config or EvaluationConfig()
    queries, gallery = [], []
    for pid in range(PEOPLE):
        for number in range(2):
            name = HOSTILE[pid] if pid < len(HOSTILE) and not number else f"{pid:04d}_cam1_{number}.png"
            r = None if native else 2 + number
            queries.append(Entry(name, pid, 1, "query", True, r))
        for number in range(3):
            camera = 1 if pid == 0 and not number else 2
            name = f"<b>{pid:04d}_cam{camera}_g{number}.png"
            gallery.append(Entry(name, pid, camera, "gallery", False, None))
    for seed, entry in enumerate([*queries, *gallery]):
        write_picture(root / entry.path, seed)
    torch.manual_seed(0)
    people = torch.randn(PEOPLE, 16)
    of_gallery = people[[entry.pid for entry in gallery]] + 0.5 * torch.randn(len(gallery), 16)
    noise: dict[View, float] = {"hr": 0.2, "lr": 1.4, "sr": 0.9}
    own = people[[entry.pid for entry in queries]]
    features = {
        view: own + scale * torch.randn(own.shape) for view, scale in noise.items() if not (native and view == "hr")
    }
    header = Header("folder", 0, "bilinear", None, 1, None)
    manifest = Manifest(header, (*queries, *gallery))
    rankings = {view: rank(found, of_gallery, queries, gallery, config, manifest) for view, found in features.items()}
    evaluation = Evaluation(
        "folder", manifest.hash, config, rankings, {"sr": QualityFigures(20.0, 0.5, 0)}, queries, gallery, features,
        of_gallery, association=True,
    )  # fmt: skip
    model = SRReID(build_osnet("osnet_x0_25", 4), Generator((4, 4, 4, 4), skip="add"), (48, 32), lr_height=40)
    return Case(PictureSource(root, header, model, 8, 1), evaluation)


@pytest.fixture(scope="session")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def report_page(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return case.write(tmp_path_factory.mktemp("run <i>") / "report.html")


def without(case: Case, *views: View) -> Case:
    """The same evaluation as if it had never looked at some views."""
    evaluation = case.evaluation
    kept = {
        "rankings": {view: found for view, found in evaluation.rankings.items() if view not in views},
        "query_features": {view: found for view, found in evaluation.query_features.items() if view not in views},
    }
    return replace(case, evaluation=replace(evaluation, **kept))
