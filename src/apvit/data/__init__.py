"""Datasets: from each owner's layout to prepared Parquet splits, and their verification.

A prepared dataset is a folder with `train.parquet`, `valid.parquet` and `test.parquet`, those that exist.
"""

from __future__ import annotations

from apvit.data.datasets import list_datasets
from apvit.data.errors import DataError
from apvit.data.opening import open_split
from apvit.data.preparing import LEFT_OUT_FILE, Prepared, prepare
from apvit.data.reading import Alignment, LeftOut
from apvit.data.report import Finding, Report
from apvit.data.rows import SPLITS, FaceRow, SplitMetadata
from apvit.data.store import Split, read_split, write_split
from apvit.data.verify import verify
from apvit.data.votes import PROTOCOLS, protocol_labels, protocol_targets, target_distribution

__all__ = [
    "LEFT_OUT_FILE",
    "PROTOCOLS",
    "SPLITS",
    "Alignment",
    "DataError",
    "FaceRow",
    "Finding",
    "LeftOut",
    "Prepared",
    "Report",
    "Split",
    "SplitMetadata",
    "list_datasets",
    "open_split",
    "prepare",
    "protocol_labels",
    "protocol_targets",
    "read_split",
    "target_distribution",
    "verify",
    "write_split",
]
