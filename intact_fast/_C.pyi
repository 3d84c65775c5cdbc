import numpy as np
from numpy.typing import NDArray

class Gallery:
    def __init__(
        self,
        pids: NDArray[np.int64],
        camids: NDArray[np.int64],
        absent: NDArray[np.bool_],
        alone: NDArray[np.bool_],
    ) -> None: ...
    def count_matches(self, query_pids: NDArray[np.int64], query_camids: NDArray[np.int64]) -> NDArray[np.int64]: ...
    def multi_shot(
        self,
        distances: NDArray[np.float32],
        query_pids: NDArray[np.int64],
        query_camids: NDArray[np.int64],
        max_rank: int,
        threads: int = 0,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...
    def exact_single_shot(
        self,
        distances: NDArray[np.float32],
        query_pids: NDArray[np.int64],
        query_camids: NDArray[np.int64],
        max_rank: int,
        threads: int = 0,
    ) -> NDArray[np.float64]: ...
    def sampled_single_shot(
        self,
        distances: NDArray[np.float32],
        query_pids: NDArray[np.int64],
        query_camids: NDArray[np.int64],
        max_rank: int,
        repeats: int,
        seed: int,
        threads: int = 0,
    ) -> NDArray[np.float64]: ...

class ReciprocalEncoding:
    def __init__(
        self,
        features: NDArray[np.float32],
        neighbours: NDArray[np.int32],
        largest_square: NDArray[np.float32],
        queries: int,
        k1: int,
        k2: int,
        cosine: bool,
        threads: int = 0,
    ) -> None: ...
    def rerank(
        self, distances: NDArray[np.float32], first_query: int, weight: float, threads: int = 0
    ) -> NDArray[np.float32]: ...

def first_equal_rows(rows: NDArray[np.float32], threads: int = 0) -> NDArray[np.int64]: ...
def nearest_columns(
    distances: NDArray[np.float32], k: int, threads: int = 0
) -> tuple[NDArray[np.int32], NDArray[np.float32]]: ...
