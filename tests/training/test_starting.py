"""What a model starts from and how its faces are framed."""

from __future__ import annotations

import pytest

import apvit
from apvit.data import SplitMetadata
from apvit.training import TrainingError


def test_a_users_own_template_comes_from_the_data():
    from apvit.expressions import get_label_space
    from apvit.faces.alignment import AlignmentTemplate
    from apvit.training.starting import preprocessing_of

    model = apvit.create_model("apvit_tiny")
    own = AlignmentTemplate("mine-48", 48, ((15, 19), (33, 19), (24, 28), (17, 37), (31, 37)))
    known = {"dataset": "folder", "split": "train", "labels": get_label_space("ferplus"), "alignment": "mine-48"}
    assert preprocessing_of(model, SplitMetadata(**known, alignment_template=own.to_dict())).alignment == own
    with pytest.raises(TrainingError, match="'mine-48', which is not known here"):
        preprocessing_of(model, SplitMetadata(**known))
