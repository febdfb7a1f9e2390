"""docs/models.md says what the registry and the goldens say, and every family has goldens."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
import make_models_page
from genfast import models


def test_the_page_is_up_to_date():
    assert make_models_page.PAGE.read_text() == make_models_page.page(), (
        "run tools/make_models_page.py"
    )


def test_every_model_file_was_held_to_transformers():
    for name in models.supported():
        assert len(make_models_page.goldens(name)) >= 3, name
