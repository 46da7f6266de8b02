"""The datasets that are known by name. Each is one module, which turns its owner's layout into a `Listing`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from apvit.data import aff_wild2, affectnet, expw, ferplus, folder, raf_db, sfew
from apvit.data.errors import DataError
from apvit.data.listing import Listing
from apvit.data.sources import Source
from apvit.files import did_you_mean, unknown


class Dataset(Protocol):
    """What a dataset's module has."""

    NAME: str
    EXPECTED: str
    """What is expected to lie there, in one clause."""
    recognises: Callable[[Source], bool]
    """Whether the files look like this dataset; cheap."""
    list_faces: Callable[..., Listing]
    """From a Source, with the dataset's own options as keyword parameters."""


DATASETS: dict[str, Dataset] = {
    dataset.NAME: dataset for dataset in (raf_db, ferplus, affectnet, sfew, expw, aff_wild2, folder)
}
"""In the order in which a folder is tried against them; `folder`, which takes any folder of classes, is last."""


def list_datasets() -> list[str]:
    """The names that `prepare` and `verify` know."""
    return list(DATASETS)


def get_dataset(name: str) -> Dataset:
    """The dataset called `name`; DataError names the known ones."""
    if name not in DATASETS:
        raise DataError(unknown("dataset", name, DATASETS))
    return DATASETS[name]


def options_of(dataset: Dataset) -> dict[str, Any]:
    """The dataset's own options and their defaults."""
    parameters = inspect.signature(dataset.list_faces).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


def list_source(dataset: Dataset, source: Source, options: dict[str, Any]) -> Listing:
    """The dataset's faces as its layout describes them; DataError for an option that it does not have."""
    known = options_of(dataset)
    for name in options:
        if name not in known:
            own = f"its own are {', '.join(known)}" if known else "it has none of its own"
            raise DataError(f"{dataset.NAME} has no option {name}{did_you_mean(name, known)}; {own}")
    return dataset.list_faces(source, **options)


def recognise(path: Path) -> Dataset:
    """The dataset in its owner's layout at `path`; DataError where it is none that is known."""
    expected = (
        "a Parquet file written by `apvit data prepare`, a folder of them, or a dataset as its owner ships it "
        f"({', '.join(DATASETS)}; `apvit data verify NAME SRC` says what is expected of each)"
    )
    with Source(path, expected) as source:
        for dataset in DATASETS.values():
            if dataset.recognises(source):
                return dataset
    raise DataError(f"{path} holds no dataset that is known; expected {expected}")
